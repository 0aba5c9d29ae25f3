"""Java's client through Debian's Curator 5.4: one test a recipe of curator/Recipes.java."""

import re
import subprocess

import pytest
from server import CACHE, ROOT
from tap import run_tap

SOURCE = ROOT / "tests/clients/curator/Recipes.java"
CLASSES = CACHE / "curator"
JARS = ":".join(f"/usr/share/java/{jar}.jar" for jar in ("curator-recipes", "zookeeper", "slf4j-nop"))
RECIPES = re.findall(r'checks\.put\("(\w+)"', SOURCE.read_text())


@pytest.fixture(scope="module")
def results(server):
    """The outcome of every recipe: one JVM runs them all."""
    CLASSES.mkdir(parents=True, exist_ok=True)
    subprocess.run(["javac", "-nowarn", "-d", CLASSES, "-cp", JARS, SOURCE], check=True, timeout=120)
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{CLASSES}:{JARS}", "Recipes", server.address]
    return run_tap(java)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(results, recipe):
    outcomes, done = results
    assert outcomes.get(recipe, "it did not run") == "", done.stderr[-4000:]
