//! What a server counts of its part in the ensemble. It is read off what the server does, so that nothing
//! that decides depends on it.

use super::{Effect, Serving};
use crate::members::Role;
use crate::message::{Batch, ToLeader, ToLearner};
use ringkeeper_engine::id::Tick;
use ringkeeper_engine::stats::{EnsembleCounters, ProposalBytes};

fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.count() as u64).sum()
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) totals: EnsembleCounters,
    /// Since when it leads.
    pub(super) leading_since: Option<Tick>,
    /// Of what it proposed since then.
    pub(super) proposal_bytes: Option<ProposalBytes>,
    looking_since: Option<Tick>,
    unavailable_since: Option<Tick>,
    /// Since when its leader brings it up to date.
    syncing_since: Option<Tick>,
    /// As what it learns, and serves.
    learns_as: Option<Role>,
}

impl Counters {
    /// It looks for a leader.
    pub(super) fn on_look(&mut self, now: Tick) {
        self.totals.looking_count += 1;
        self.looking_since = Some(now);
        self.unavailable_since.get_or_insert(now);
    }

    /// It has a leader, or is one. ZooKeeper counts no observer's.
    pub(super) fn on_decision(&mut self, now: Tick, observer: bool) {
        if let Some(since) = self.looking_since.take().filter(|_| !observer) {
            self.totals.election_time.add(now.since(since));
        }
    }

    /// It does this.
    pub(super) fn on_effects(&mut self, now: Tick, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::ToLeader(_, ToLeader::AckEpoch { .. }) => self.syncing_since = Some(now),
                Effect::Serve(serving) => self.on_serve(now, *serving),
                Effect::ToLearner(_, ToLearner::Diff(_) | ToLearner::Trunc(_)) => self.totals.diff_count += 1,
                Effect::ToLearner(_, ToLearner::Snap(_)) => self.totals.snap_count += 1,
                Effect::FromLearner(_, _, ToLeader::Revalidate { .. }) => self.totals.revalidate_count += 1,
                Effect::Append(_, batch) if self.leading_since.is_some() => {
                    self.totals.proposal_count += batch.count() as u64;
                    batch.iter().for_each(|(_, bytes)| self.on_proposal(bytes.len()));
                }
                // An observer hears of what is committed alone.
                Effect::Append(_, batch) if self.learns_as == Some(Role::Participant) => {
                    self.totals.learner_proposal_received_count += batch.count() as u64;
                }
                Effect::Deliver(batches) if self.leading_since.is_some() => {
                    self.totals.commit_count += count(batches);
                }
                Effect::Deliver(batches) if self.learns_as.is_some() => {
                    self.totals.learner_commit_received_count += count(batches);
                }
                _ => {}
            }
        }
    }

    fn on_proposal(&mut self, last: usize) {
        let ProposalBytes { min, max, .. } =
            self.proposal_bytes.unwrap_or(ProposalBytes { last, min: last, max: last });
        self.proposal_bytes = Some(ProposalBytes { last, min: min.min(last), max: max.max(last) });
    }

    fn on_serve(&mut self, now: Tick, serving: Serving) {
        let unavailable = match serving {
            Serving::No => None,
            _ => self.unavailable_since.take().map(|since| now.since(since)),
        };
        unavailable.into_iter().for_each(|ms| self.totals.unavailable_time.add(ms));
        self.learns_as = match serving {
            Serving::Learner { observer: false, .. } => Some(Role::Participant),
            Serving::Learner { observer: true, .. } => Some(Role::Observer),
            Serving::No | Serving::Leader(_) => None,
        };
        match serving {
            Serving::No => (self.leading_since, self.proposal_bytes) = (None, None),
            Serving::Leader(_) => {
                self.leading_since.get_or_insert(now);
                unavailable.into_iter().for_each(|ms| self.totals.leader_unavailable_time.add(ms));
            }
            Serving::Learner { observer, .. } => {
                let time = match observer {
                    false => &mut self.totals.follower_sync_time,
                    true => &mut self.totals.observer_sync_time,
                };
                self.syncing_since.take().into_iter().for_each(|since| time.add(now.since(since)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Transaction;
    use crate::zab::{Attempt, Generation, Link};
    use bytes::Bytes;
    use ringkeeper_engine::id::{Epoch, ServerId, Zxid};
    use ringkeeper_engine::stats::Latency;

    fn batch(lengths: &[usize]) -> Batch {
        let of = |(zxid, length): (u64, &usize)| Transaction {
            zxid: Zxid(zxid),
            bytes: Bytes::from(vec![0; *length]),
        };
        let transactions: Vec<Transaction> = (1..).zip(lengths).map(of).collect();
        Batch::of(&transactions).expect("some")
    }

    fn times(all: &[u64]) -> Latency {
        let mut latency = Latency::default();
        all.iter().for_each(|ms| latency.add(*ms));
        latency
    }

    #[test]
    fn what_a_server_does_counts_in_the_role_in_which_it_does_it() {
        let mut counters = Counters::default();
        let mut does = |at: u64, effects: &[Effect]| counters.on_effects(Tick(at), effects);
        let append = |lengths: &[usize]| Effect::Append(Generation(0), batch(lengths));
        let learner = Serving::Learner { leader: ServerId(2), epoch: Epoch(1), observer: false };
        // What comes while it is brought up to date was not proposed to it.
        does(1, &[append(&[1]), Effect::Deliver(vec![batch(&[1])])]);
        does(2, &[Effect::Serve(learner), append(&[1, 1]), Effect::Deliver(vec![batch(&[1])])]);
        let observer = Serving::Learner { leader: ServerId(2), epoch: Epoch(1), observer: true };
        does(3, &[Effect::Serve(observer), append(&[1]), Effect::Deliver(vec![batch(&[1])])]);
        does(3, &[Effect::Serve(Serving::No)]);
        does(4, &[Effect::Serve(Serving::Leader(Epoch(2))), append(&[30, 10, 20])]);
        does(5, &[Effect::Deliver(vec![batch(&[30, 10])]), Effect::Serve(Serving::Leader(Epoch(3)))]);
        let link = Link(1);
        does(
            6,
            &[
                Effect::ToLearner(link, ToLearner::Diff(Zxid(1))),
                Effect::ToLearner(link, ToLearner::Snap(Zxid(1))),
            ],
        );
        assert_eq!(counters.leading_since, Some(Tick(4)), "a later epoch of its own is no other leader");
        assert_eq!(counters.proposal_bytes, Some(ProposalBytes { last: 20, min: 10, max: 30 }));
        let expected = EnsembleCounters {
            learner_proposal_received_count: 2,
            learner_commit_received_count: 2,
            proposal_count: 3,
            commit_count: 2,
            diff_count: 1,
            snap_count: 1,
            ..EnsembleCounters::default()
        };
        assert_eq!(counters.totals, expected);
        counters.on_effects(Tick(7), &[Effect::Serve(Serving::No)]);
        assert_eq!((counters.leading_since, counters.proposal_bytes), (None, None));
    }

    #[test]
    fn times_go_from_the_first_look_to_what_they_are_of() {
        let mut counters = Counters::default();
        counters.on_look(Tick(100));
        counters.on_look(Tick(150));
        counters.on_decision(Tick(160), false);
        let current = Some(Epoch(1));
        let promise = ToLeader::AckEpoch { current, last: Zxid(1) };
        counters.on_effects(Tick(170), &[Effect::ToLeader(Attempt(1), promise)]);
        let learner = Serving::Learner { leader: ServerId(2), epoch: Epoch(1), observer: false };
        counters.on_effects(Tick(190), &[Effect::Serve(learner)]);
        counters.on_look(Tick(500));
        counters.on_decision(Tick(501), false);
        counters.on_effects(Tick(510), &[Effect::Serve(Serving::Leader(Epoch(2)))]);
        counters.on_look(Tick(600));
        counters.on_decision(Tick(700), true);
        let expected = EnsembleCounters {
            looking_count: 4,
            election_time: times(&[10, 1]),
            follower_sync_time: times(&[20]),
            unavailable_time: times(&[90, 10]),
            leader_unavailable_time: times(&[10]),
            ..EnsembleCounters::default()
        };
        assert_eq!(counters.totals, expected);
    }
}
