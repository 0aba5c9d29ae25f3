import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.zookeeper.server.quorum.flexible.QuorumHierarchical;

/**
 * Writes the cases on its input anew with what ZooKeeper's QuorumHierarchical makes of each: the least
 * quorums of its voters, since a leader counts nobody else (SyncedLearnerTracker.addAck), or that it
 * is refused, by what.
 */
public final class Hierarchies {
    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            if (line.startsWith("    ")) {
                continue;
            }
            System.out.println(line);
            if (!line.isEmpty() && !line.startsWith("#")) {
                said(line).forEach(answer -> System.out.println("    " + answer));
            }
        }
    }

    private static List<String> said(String line) {
        Properties properties = new Properties();
        for (String word : line.split(" ")) {
            String[] parts = word.split("=");
            if (parts[0].startsWith("server.")) {
                int id = Integer.parseInt(parts[0].substring("server.".length()));
                parts[1] = "127.0.0.1:" + (2000 + id) + ":" + (3000 + id) + ":" + parts[1];
            }
            properties.put(parts[0], parts[1]);
        }
        QuorumHierarchical verifier;
        try {
            verifier = new QuorumHierarchical(properties);
        } catch (Exception refused) {
            return List.of("refused: " + refused.getClass().getSimpleName());
        }
        List<Long> voters = new ArrayList<>(new TreeSet<>(verifier.getVotingMembers().keySet()));
        List<Set<Long>> least = new ArrayList<>();
        // A part of a set has fewer bits, so it comes before it when they are gone through by size.
        for (int size = 0; size <= voters.size(); size++) {
            for (int bits = 0; bits < 1 << voters.size(); bits++) {
                Set<Long> set = new HashSet<>();
                for (int at = 0; at < voters.size(); at++) {
                    if ((bits >> at & 1) == 1) {
                        set.add(voters.get(at));
                    }
                }
                boolean isLeast = set.size() == size && least.stream().noneMatch(set::containsAll);
                if (isLeast && verifier.containsQuorum(set)) {
                    least.add(set);
                }
            }
        }
        return least.isEmpty() ? List.of("none") : least.stream().map(Hierarchies::joined).sorted().toList();
    }

    private static String joined(Set<Long> set) {
        return new TreeSet<>(set).stream().map(String::valueOf).collect(Collectors.joining(":"));
    }
}
