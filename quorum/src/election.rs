//! Fast leader election: servers tell each other the best candidate that they know, until a quorum
//! names the same one. `FastLeaderElection.tla` and `FastLeaderElection.java` name the actions.
//!
//! ZooKeeper, when a quorum agrees, listens for another 200 ms, in case a better candidate speaks
//! up. Here a server that has heard every voter in this round, but for those that cannot be reached
//! and those without weight, decides at once: all that the wait could bring has come. Where a voter is
//! silent, it waits as ZooKeeper does. Either way is safe, also beside servers that wait: an election only proposes a
//! leader. A quorum must accept its epoch before it leads, and it gives up if one of them knows
//! more. A server that still waits while others have decided hears them say so, and joins them.
//!
//! Who decides at once may be alone with it: a better candidate comes up a moment later, and the others go
//! over to that. ZooKeeper's server then stands by what it decided until `initLimit` is over, for a follower
//! that never comes or a leader that never leads. Here it goes back into the same round as soon as it hears
//! that ([`Election::resume`]); since votes only get better in a round, it does so a few times at most.

use crate::message::{Notification, PeerState, Round, Vote};
use crate::verifier::Verifier;
use ringkeeper_engine::id::{ServerId, Tick};
use std::collections::{BTreeMap, BTreeSet};

/// How long elections wait, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionTiming {
    /// Silence of a voter that a quorum waits for (`finalizeWait`).
    pub finalize_ms: u64,
    /// A vote is told again after this, then after twice as long, and so on
    /// (`fastleader.minNotificationInterval`).
    pub resend_ms_min: u64,
    /// But never later than this (`fastleader.maxNotificationInterval`).
    pub resend_ms_max: u64,
}

impl Default for ElectionTiming {
    /// ZooKeeper's, but for the longest interval: a minute of silence is a minute of outage.
    fn default() -> Self {
        ElectionTiming { finalize_ms: 200, resend_ms_min: 200, resend_ms_max: 2000 }
    }
}

/// What an election knows of the ensemble.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Who votes.
    pub verifier: &'a Verifier,
    /// Servers that were heard of and whose election port cannot be reached any more. One that was never
    /// there may be about to start, as all do when an ensemble does: it is silent, not gone.
    pub down: &'a BTreeSet<ServerId>,
}

/// What a server said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ballot {
    vote: Vote,
    round: Round,
    state: PeerState,
    version: i32,
}

impl Ballot {
    /// Whether both stand for one leader (`Vote.equals`). Servers that have left the election may
    /// differ in round and zxid, and very old ones in epoch.
    fn agrees(&self, other: &Ballot) -> bool {
        let looking = self.state == PeerState::Looking || other.state == PeerState::Looking;
        if looking {
            self.vote == other.vote && self.round == other.round
        } else {
            let comparable = (self.version > 0) == (other.version > 0);
            self.vote.leader == other.vote.leader && (!comparable || self.vote.epoch == other.vote.epoch)
        }
    }
}

/// An election's state; it outlives elections, since rounds only grow.
#[derive(Clone, Debug)]
pub struct Election {
    me: ServerId,
    timing: ElectionTiming,
    round: Round,
    /// This server's own candidacy.
    own: Vote,
    proposal: Vote,
    /// Votes of this round (`recvset`).
    received: BTreeMap<ServerId, Ballot>,
    /// Votes of servers that have a leader, of any round (`outofelection`).
    settled: BTreeMap<ServerId, Ballot>,
    finalize_at: Option<Tick>,
    resend_at: Tick,
    resend_ms: u64,
}

/// A leader was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The winning vote; it names a leader.
    pub vote: Vote,
    /// The leader.
    pub leader: ServerId,
}

impl Election {
    /// Of a server that has not looked for a leader yet.
    pub fn new(me: ServerId, timing: ElectionTiming) -> Self {
        Election {
            me,
            timing,
            round: Round(0),
            own: Vote::default(),
            proposal: Vote::default(),
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            finalize_at: None,
            resend_at: Tick(0),
            resend_ms: timing.resend_ms_min,
        }
    }

    /// The number of the last election.
    pub fn round(&self) -> Round {
        self.round
    }

    /// The best candidate known.
    pub fn proposal(&self) -> Vote {
        self.proposal
    }

    /// Starts a round with `own` as this server's candidacy; the vote is to be told to all voters.
    pub fn look(&mut self, now: Tick, own: Vote, view: View<'_>) -> Option<Decision> {
        self.round = self.round.next();
        self.own = own;
        self.received.clear();
        self.settled.clear();
        self.resend_ms = self.timing.resend_ms_min;
        self.resend_at = now.plus_ms(self.resend_ms);
        self.update_proposal(own, view);
        self.decide(now, view)
    }

    fn update_proposal(&mut self, vote: Vote, view: View<'_>) {
        self.proposal = vote;
        self.finalize_at = None;
        if view.verifier.is_voter(self.me) {
            let (round, state) = (self.round, PeerState::Looking);
            self.received.insert(self.me, Ballot { vote, round, state, version: 0 });
        }
    }

    /// `totalOrderPredicate`: a server without weight is never better.
    fn better(&self, vote: Vote, than: Vote, view: View<'_>) -> bool {
        vote.leader.is_some_and(|leader| view.verifier.weight(leader) > 0) && vote > than
    }

    /// Takes in what the voter `from` said. `tell_all` is set if this server's vote changed, and
    /// `tell_sender` if the sender needs to hear it.
    pub fn receive(
        &mut self,
        now: Tick,
        from: ServerId,
        notification: &Notification,
        view: View<'_>,
        tell: &mut Tell,
    ) -> Option<Decision> {
        let &Notification { vote, round, state, version, .. } = notification;
        vote.leader.filter(|leader| view.verifier.is_voter(*leader))?;
        let ballot = Ballot { vote, round, state, version };
        // Voters answer whatever is said by somebody without a vote: if that answered in turn, the two would
        // never come to an end.
        let answer = if view.verifier.is_voter(self.me) { Tell::Sender } else { Tell::Nobody };
        match state {
            PeerState::Looking => {
                if round > self.round {
                    self.round = round;
                    self.received.clear();
                    let better = self.better(vote, self.own, view);
                    self.update_proposal(if better { vote } else { self.own }, view);
                    *tell = Tell::All;
                } else if round < self.round {
                    *tell = answer;
                    return None;
                } else if self.better(vote, self.proposal, view) {
                    self.update_proposal(vote, view);
                    *tell = Tell::All;
                } else if self.better(self.proposal, vote, view) {
                    // It has not heard this vote, or heard it before it looked for a leader itself. Without
                    // an answer both would wait until they tell theirs again.
                    *tell = answer;
                }
                self.received.insert(from, ballot);
                self.decide(now, view)
            }
            PeerState::Observing => None,
            PeerState::Following | PeerState::Leading => self.receive_settled(from, ballot, view),
        }
    }

    /// Takes in what the voter `from` says when this server has decided already, for [`Self::resume`].
    pub fn overhear(&mut self, from: ServerId, notification: &Notification) {
        let &Notification { vote, round, state, version, .. } = notification;
        if state == PeerState::Looking && round == self.round {
            self.received.insert(from, Ballot { vote, round, state, version });
        }
    }

    /// Whether a vote is better than the one that this server decided for, in the same round.
    pub fn is_overtaken(&self, notification: &Notification, view: View<'_>) -> bool {
        let Notification { vote, round, state, .. } = notification;
        *state == PeerState::Looking && *round == self.round && self.better(*vote, self.proposal, view)
    }

    /// Goes on with the round that this server left too early, with the best vote that it overheard.
    pub fn resume(&mut self, now: Tick, view: View<'_>) -> Option<Decision> {
        let round = self.round;
        self.received.retain(|_, ballot| ballot.round == round);
        let looking = self.received.values().filter(|ballot| ballot.state == PeerState::Looking);
        let best = looking.map(|ballot| ballot.vote).filter(|vote| self.better(*vote, self.proposal, view));
        let best = best.max().unwrap_or(self.proposal);
        self.resend_ms = self.timing.resend_ms_min;
        self.resend_at = now.plus_ms(self.resend_ms);
        self.update_proposal(best, view);
        self.decide(now, view)
    }

    /// `receivedFollowingNotification`: joins a leader that a quorum follows and that says itself
    /// that it leads, so that nobody elects a dead one again and again.
    fn receive_settled(&mut self, from: ServerId, ballot: Ballot, view: View<'_>) -> Option<Decision> {
        let leader = ballot.vote.leader?;
        let found = Decision { vote: ballot.vote, leader };
        if ballot.round == self.round {
            self.received.insert(from, ballot);
            if self.established(&self.received, &ballot, leader, view) {
                return Some(found);
            }
        }
        self.settled.insert(from, ballot);
        if self.established(&self.settled, &ballot, leader, view) {
            self.round = ballot.round;
            return Some(found);
        }
        None
    }

    fn established(
        &self,
        ballots: &BTreeMap<ServerId, Ballot>,
        ballot: &Ballot,
        leader: ServerId,
        view: View<'_>,
    ) -> bool {
        let leads = if leader == self.me {
            self.round == ballot.round
        } else {
            ballots.get(&leader).is_some_and(|leader| leader.state == PeerState::Leading)
        };
        let agrees = |voter| ballots.get(&voter).is_some_and(|other| other.agrees(ballot));
        leads && view.verifier.is_quorum(agrees)
    }

    /// Ends the round if a quorum agrees and nothing better can be heard.
    fn decide(&mut self, now: Tick, view: View<'_>) -> Option<Decision> {
        let leader = self.proposal.leader?;
        let agrees = |ballot: &Ballot| ballot.vote == self.proposal && ballot.round == self.round;
        if !view.verifier.is_quorum(|voter| self.received.get(&voter).is_some_and(agrees)) {
            self.finalize_at = None;
            return None;
        }
        let is_silent = |voter: &ServerId| {
            let heard = self.received.contains_key(voter) || view.down.contains(voter);
            !heard && view.verifier.weight(*voter) > 0
        };
        let due = *self.finalize_at.get_or_insert(now.plus_ms(self.timing.finalize_ms));
        if due <= now || !view.verifier.voters().any(|voter| is_silent(&voter)) {
            return Some(Decision { vote: self.proposal, leader });
        }
        None
    }

    /// A server can be reached no longer: nobody waits for its vote.
    pub fn on_down(&mut self, now: Tick, view: View<'_>) -> Option<Decision> {
        self.decide(now, view)
    }

    /// Time passed.
    pub fn on_tick(&mut self, now: Tick, view: View<'_>, tell: &mut Tell) -> Option<Decision> {
        if let Some(decision) = self.decide(now, view) {
            return Some(decision);
        }
        if self.resend_at <= now {
            *tell = Tell::All;
            self.resend_ms = (self.resend_ms * 2).min(self.timing.resend_ms_max);
            self.resend_at = now.plus_ms(self.resend_ms);
        }
        None
    }
}

/// Who is to hear this server's vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tell {
    /// Nobody.
    #[default]
    Nobody,
    /// The server that spoke.
    Sender,
    /// All voters.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::id::{Epoch, Zxid};

    fn vote(epoch: u32, zxid: u64, leader: u8) -> Vote {
        Vote { epoch: Epoch(epoch), zxid: Zxid(zxid), leader: Some(ServerId(leader)) }
    }

    fn says(state: PeerState, round: i64, vote: Vote) -> Notification {
        Notification { vote, round: Round(round), state, version: 2, members: None }
    }

    struct Case {
        election: Election,
        verifier: Verifier,
        down: BTreeSet<ServerId>,
        tell: Tell,
    }

    impl Case {
        /// Server 1 of three, in its first round.
        fn new() -> Case {
            let verifier = Verifier::majority([1, 2, 3].map(ServerId));
            let mut election = Election::new(ServerId(1), ElectionTiming::default());
            let view = View { verifier: &verifier, down: &BTreeSet::new() };
            assert_eq!(election.look(Tick(0), vote(1, 10, 1), view), None);
            Case { election, verifier, down: BTreeSet::new(), tell: Tell::Nobody }
        }

        fn hears(&mut self, at: u64, from: u8, notification: Notification) -> Option<u8> {
            let view = View { verifier: &self.verifier, down: &self.down };
            self.tell = Tell::Nobody;
            self.election
                .receive(Tick(at), ServerId(from), &notification, view, &mut self.tell)
                .map(|decision| decision.leader.0)
        }

        fn tick(&mut self, at: u64) -> Option<u8> {
            let view = View { verifier: &self.verifier, down: &self.down };
            self.tell = Tell::Nobody;
            self.election.on_tick(Tick(at), view, &mut self.tell).map(|decision| decision.leader.0)
        }
    }

    use PeerState::{Following, Leading, Looking};

    #[test]
    fn votes_are_ordered_by_epoch_then_zxid_then_server() {
        let ascending =
            [Vote::default(), vote(0, 0, 1), vote(1, 9, 1), vote(1, 9, 2), vote(1, 10, 1), vote(2, 0, 1)];
        assert!(ascending.is_sorted() && ascending.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn only_a_voter_answers_a_worse_vote() {
        let worse = || says(Looking, 1, vote(1, 9, 2));
        let older = || says(Looking, 0, vote(1, 10, 3));
        let mut case = Case::new();
        for notification in [worse(), older()] {
            assert_eq!(case.hears(0, 2, notification), None);
            assert_eq!(case.tell, Tell::Sender);
        }
        case.verifier = Verifier::majority([2, 3].map(ServerId));
        for notification in [worse(), older()] {
            assert_eq!(case.hears(0, 2, notification), None);
            assert_eq!(case.tell, Tell::Nobody);
        }
    }

    #[test]
    fn a_round_ends_at_once_when_every_voter_was_heard() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 10, 2))), None, "server 3 may be better");
        assert_eq!(case.tell, Tell::All);
        assert_eq!(case.hears(2, 3, says(Looking, 1, vote(1, 9, 3))), Some(2));
    }

    #[test]
    fn a_round_ends_at_once_when_the_others_cannot_be_reached() {
        let mut case = Case::new();
        case.down.insert(ServerId(3));
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 10, 2))), Some(2));
    }

    #[test]
    fn a_silent_voter_is_waited_for_but_not_for_ever() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 9, 2))), None);
        assert_eq!(case.hears(2, 2, says(Looking, 1, vote(1, 10, 1))), None);
        assert_eq!(case.tick(200), None);
        assert_eq!(case.tell, Tell::All, "and told again, should it have been lost");
        assert_eq!(case.tick(202), Some(1));
    }

    #[test]
    fn a_better_vote_starts_the_wait_anew() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 10, 2))), None);
        assert_eq!(case.hears(150, 2, says(Looking, 1, vote(2, 0, 3))), None);
        assert_eq!(case.tick(250), None);
        assert_eq!(case.tick(350), Some(3));
    }

    #[test]
    fn a_later_round_forgets_the_votes_of_earlier_ones() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 3, says(Looking, 1, vote(1, 10, 3))), None);
        assert_eq!(case.hears(2, 2, says(Looking, 4, vote(1, 9, 2))), None);
        assert_eq!((case.election.round(), case.election.proposal()), (Round(4), vote(1, 10, 1)));
        assert_eq!(case.hears(3, 3, says(Looking, 1, vote(1, 10, 3))), None);
        assert_eq!(case.tell, Tell::Sender, "it lags");
    }

    /// A peer's word for a round is taken whatever it is: none is the last one.
    #[test]
    fn behind_the_greatest_round_elections_go_on() {
        let mut case = Case::new();
        let greatest = i64::MAX;
        assert_eq!(case.hears(1, 3, says(Looking, greatest, vote(1, 9, 3))), None);
        assert_eq!((case.election.round(), case.tell), (Round(greatest), Tell::All));
        assert_eq!(case.hears(2, 2, says(Looking, greatest, vote(1, 10, 1))), Some(1));
        // The next one, with a server that has gone on as well, and one that still looks in the one before.
        let view = View { verifier: &case.verifier, down: &case.down };
        assert_eq!(case.election.look(Tick(9), vote(1, 10, 1), view), None);
        assert_eq!(case.hears(10, 2, says(Looking, i64::MIN, vote(1, 10, 1))), None);
        assert_eq!(case.hears(11, 3, says(Looking, greatest, vote(1, 9, 3))), None);
        assert_eq!((case.election.round(), case.tell), (Round(greatest), Tell::All), "it goes over");
        assert_eq!(case.hears(12, 2, says(Looking, greatest, vote(1, 10, 1))), Some(1));
        // And who comes back finds the leader that was elected behind it.
        let mut other = Case::new();
        assert_eq!(other.hears(1, 3, says(Leading, i64::MIN, vote(5, 1, 3))), None);
        assert_eq!(other.hears(1, 2, says(Following, i64::MIN, vote(5, 1, 3))), Some(3));
        assert_eq!(other.election.round(), Round(i64::MIN));
    }

    #[test]
    fn a_leader_is_joined_only_if_it_says_itself_that_it_leads() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 2, says(Following, 9, vote(5, 1, 3))), None);
        let mut other = Case::new();
        assert_eq!(other.hears(1, 3, says(Leading, 9, vote(5, 1, 3))), None, "alone");
        assert_eq!(
            other.hears(1, 2, says(Following, 8, vote(5, 0, 3))),
            Some(3),
            "round and zxid may differ"
        );
        let mut third = Case::new();
        third.hears(1, 3, says(Leading, 9, vote(5, 1, 3)));
        assert_eq!(third.hears(1, 2, says(Following, 9, vote(4, 1, 3))), None, "another epoch");
    }

    #[test]
    fn a_round_that_was_left_too_early_goes_on_with_the_best_vote_that_was_overheard() {
        let mut case = Case::new();
        case.down.insert(ServerId(3));
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 10, 2))), Some(2));
        let view = View { verifier: &case.verifier, down: &case.down };
        let better = says(Looking, 1, vote(1, 10, 3));
        for other in [
            says(Looking, 1, vote(1, 9, 3)),
            says(Looking, 2, vote(9, 9, 3)),
            says(Following, 1, better.vote),
        ] {
            assert!(!case.election.is_overtaken(&other, view), "{other:?}");
        }
        assert!(case.election.is_overtaken(&better, view));
        case.election.overhear(ServerId(3), &better);
        let decision = case.election.resume(Tick(2), view).map(|decision| decision.leader);
        assert_eq!(decision, Some(ServerId(3)), "both make a quorum");
        assert_eq!((case.election.round(), case.election.proposal()), (Round(1), better.vote));
    }

    /// A follower that hears of an election before its own connection to the leader breaks forgets what it
    /// heard when it looks for a leader itself.
    #[test]
    fn who_votes_for_less_hears_of_more_at_once() {
        let mut case = Case::new();
        assert_eq!(case.hears(1, 2, says(Looking, 1, vote(1, 9, 2))), None);
        assert_eq!(case.tell, Tell::Sender);
        assert_eq!(case.hears(2, 2, says(Looking, 1, vote(1, 10, 1))), None);
        assert_eq!(case.tell, Tell::Nobody, "it agrees now");
    }

    #[test]
    fn a_server_without_weight_is_never_elected() {
        let mut case = Case::new();
        case.verifier = Verifier::hierarchical(
            [(1, (1, 1)), (2, (1, 1)), (3, (1, 0))].map(|(id, place)| (ServerId(id), place)).into(),
        );
        assert_eq!(case.hears(1, 3, says(Looking, 1, vote(9, 9, 3))), None);
        assert_eq!(case.tell, Tell::Nobody);
        assert_eq!(case.hears(1, 9, says(Looking, 1, vote(9, 9, 9))), None, "no member");
    }
}
