//! SYNCs of several learners, at their leader.

use super::*;

const LINKS: [Link; 2] = [LINK, Link(6)];

/// Leads both others.
fn leading_two() -> Bench {
    let mut bench = Bench::leading();
    let info = LearnerInfo { server: ServerId(3), config_version: 0, extended: true };
    let joins = [
        ToLeader::FollowerInfo { accepted: Epoch(0), info },
        ToLeader::AckEpoch { current: Some(Epoch(0)), last: Zxid::ZERO },
        ToLeader::Ack(zxid(0)),
    ];
    joins.into_iter().for_each(|message| say(&mut bench, &[(LINKS[1], message)]));
    bench.messages.clear();
    bench
}

/// What learners say before anything is handed out.
fn say(bench: &mut Bench, said: &[(Link, ToLeader)]) {
    let mut out = Vec::new();
    for (link, message) in said {
        let input = Input::Peer(zab::Input::FromLearner(*link, message.clone()));
        bench.replica.step(at(bench.now_ms), input, &mut out);
    }
    bench.take(out);
    bench.settle();
}

fn sync(xid: i32) -> ToLeader {
    request(SESSION, xid, OpCode::Sync, Vec::new())
}

fn writes(xid: i32) -> ToLeader {
    request(SESSION, xid, OpCode::Create, create(&format!("/{xid}")))
}

/// What each learner was told since the last time, but for proposals.
fn told(bench: &mut Bench) -> [Vec<ToLearner>; 2] {
    let messages = std::mem::take(&mut bench.messages);
    LINKS.map(|link| {
        let to_it = messages.iter().filter_map(|effect| match effect {
            zab::Effect::ToLearner(_, ToLearner::Proposal(_) | ToLearner::Proposals(_)) => None,
            zab::Effect::ToLearner(to, message) => (*to == link).then(|| message.clone()),
            _ => None,
        });
        to_it.collect()
    })
}

#[test]
fn a_sync_waits_for_a_quorums_disks_and_not_for_the_leaders() {
    let mut bench = leading_two();
    bench.disk_hangs = true;
    let acks = ToLeader::Ack(zxid(1));
    say(&mut bench, &[(LINKS[0], writes(1)), (LINKS[0], sync(2)), (LINKS[0], acks.clone())]);
    assert_eq!(told(&mut bench), [[], []]);
    say(&mut bench, &[(LINKS[1], acks)]);
    let commit = ToLearner::Commit(zxid(1));
    assert_eq!(told(&mut bench), [vec![commit.clone(), ToLearner::Sync], vec![commit]]);
    assert_eq!(bench.replica.applied(), Zxid::ZERO);
}

/// What was asked for later may be among what is committed, and no commit is said twice.
#[test]
fn each_learner_is_answered_before_a_later_commit_whoever_asked_first() {
    let mut bench = leading_two();
    let [five, six] = LINKS;
    let acks = |counter| LINKS.map(|link| (link, ToLeader::Ack(zxid(counter))));
    let writes_and_acks = |xid, counter| {
        let [one, other] = acks(counter);
        [(five, writes(xid)), one, other]
    };
    say(&mut bench, &writes_and_acks(1, 1));
    assert_eq!(told(&mut bench), [(); 2].map(|()| vec![ToLearner::Commit(zxid(1))]));
    let mut all = vec![(six, sync(2)), (five, sync(3))];
    all.extend(writes_and_acks(4, 2));
    say(&mut bench, &all);
    assert_eq!(told(&mut bench), [(); 2].map(|()| vec![ToLearner::Sync, ToLearner::Commit(zxid(2))]));
    say(&mut bench, &writes_and_acks(5, 3));
    told(&mut bench);
    let mut all = vec![(five, sync(6))];
    all.extend(writes_and_acks(7, 4));
    say(&mut bench, &all);
    let commit = ToLearner::Commit(zxid(4));
    assert_eq!(told(&mut bench), [vec![ToLearner::Sync, commit.clone()], vec![commit]]);
}
