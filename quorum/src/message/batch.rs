//! Transactions that follow each other, in one buffer: as the leader prepares them, every log has them,
//! the wire between two Ringkeepers carries them and the window keeps them. Nobody copies one alone.
//!
//! ```text
//! batch = entry+
//! entry = zxid u64, length u32, the transaction's bytes      (as in the log: little-endian)
//! ```

use super::{MessageError, Result, Transaction};
use bytes::Bytes;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{ENTRY_HEADER_BYTES, decode_entry_header, encode_entry_header};
use std::iter;

/// One transaction at least. Each is the next in its epoch, or of a later epoch than the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    entries: Bytes,
    first: Zxid,
    last: Zxid,
    count: usize,
}

/// Whether a log that ends at `last` goes on with `zxid` without a gap. An epoch's first transaction has the
/// number 1; that of a standalone ZooKeeper which counted on over the end of 32 bits has 0.
pub fn follows(last: Zxid, zxid: Zxid) -> bool {
    match zxid.epoch() == last.epoch() {
        true => zxid == last.next(),
        false => zxid > last && zxid.counter() <= 1,
    }
}

impl Batch {
    /// Of one transaction.
    pub fn one(zxid: Zxid, transaction: &[u8]) -> Batch {
        let mut builder = BatchBuilder::default();
        builder.push(zxid, transaction);
        builder.take().expect("one was pushed")
    }

    /// Of these; `None` of none.
    ///
    /// # Panics
    /// If they do not follow each other.
    pub fn of<'t>(transactions: impl IntoIterator<Item = &'t Transaction>) -> Option<Batch> {
        let mut builder = BatchBuilder::default();
        transactions.into_iter().for_each(|transaction| builder.push(transaction.zxid, &transaction.bytes));
        builder.take()
    }

    /// The batch of these bytes.
    ///
    /// # Errors
    /// There is no transaction, one is cut short, or there is a gap.
    pub fn decode(entries: Bytes) -> Result<Batch> {
        let nonsense = |what| MessageError::Batch(what);
        let (mut at, mut count, mut ends) = (0, 0, None::<(Zxid, Zxid)>);
        while at < entries.len() {
            let (zxid, length) = decode_entry_header(&entries[at..]).ok_or(nonsense("it is cut short"))?;
            if entries.len() - at - ENTRY_HEADER_BYTES < length {
                return Err(nonsense("it is cut short"));
            }
            if ends.is_some_and(|(_, last)| !follows(last, zxid)) {
                return Err(nonsense("it has a gap"));
            }
            ends = Some((ends.map_or(zxid, |(first, _)| first), zxid));
            at += ENTRY_HEADER_BYTES + length;
            count += 1;
        }
        let (first, last) = ends.ok_or(nonsense("it is empty"))?;
        Ok(Batch { entries, first, last, count })
    }

    /// Its bytes.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// The same, kept as long as they are needed.
    pub fn shared(&self) -> Bytes {
        self.entries.clone()
    }

    /// The oldest transaction.
    pub fn first(&self) -> Zxid {
        self.first
    }

    /// The newest transaction.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// How many transactions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the transactions, without what is around them.
    pub fn transaction_bytes(&self) -> usize {
        self.entries.len() - self.count * ENTRY_HEADER_BYTES
    }

    /// Each transaction's number and bytes.
    pub fn iter(&self) -> Entries<'_> {
        Entries { entries: &self.entries, at: 0 }
    }

    /// Its bytes in pieces of whole entries, each with its last transaction's number: as few as can be of so many
    /// bytes at most, unless one entry alone has more.
    pub fn pieces(&self, bytes_max: usize) -> impl Iterator<Item = (Zxid, &[u8])> {
        let (mut entries, mut start) = (self.iter(), 0);
        let mut ahead = entries.next().map(|(zxid, _)| (zxid, entries.at));
        iter::from_fn(move || {
            let (mut last, mut end) = ahead.take()?;
            while let Some((zxid, _)) = entries.next() {
                if entries.at - start > bytes_max {
                    ahead = Some((zxid, entries.at));
                    break;
                }
                (last, end) = (zxid, entries.at);
            }
            let piece = &self.entries[start..end];
            start = end;
            Some((last, piece))
        })
    }

    /// Each transaction by itself, which shares the batch's memory.
    pub fn into_transactions(self) -> impl Iterator<Item = Transaction> {
        let mut at = 0;
        iter::from_fn(move || {
            let (zxid, length) = decode_entry_header(&self.entries[at..])?;
            let start = at + ENTRY_HEADER_BYTES;
            at = start + length;
            Some(Transaction { zxid, bytes: self.entries.slice(start..at) })
        })
    }

    /// The newest transaction that is not newer than `zxid`.
    pub fn newest_upto(&self, zxid: Zxid) -> Option<Zxid> {
        if self.last <= zxid {
            return Some(self.last);
        }
        self.iter().map(|(entry, _)| entry).take_while(|entry| *entry <= zxid).last()
    }

    /// The transactions up to `upto`, and those after it.
    pub fn split_after(&self, upto: Zxid) -> (Option<Batch>, Option<Batch>) {
        if self.last <= upto {
            return (Some(self.clone()), None);
        }
        let (mut entries, mut last, mut count) = (self.iter(), self.first, 0);
        let next = loop {
            let at = entries.at;
            match entries.next() {
                Some((zxid, _)) if zxid <= upto => (last, count) = (zxid, count + 1),
                Some((zxid, _)) => break (at, zxid),
                None => unreachable!("the last one is newer"),
            }
        };
        let (at, first) = next;
        let kept = Batch { entries: self.entries.slice(..at), first: self.first, last, count };
        let rest =
            Batch { entries: self.entries.slice(at..), first, last: self.last, count: self.count - count };
        ((count > 0).then_some(kept), Some(rest))
    }

    /// The transactions after `after`.
    pub fn after(&self, after: Zxid) -> Option<Batch> {
        if self.first > after { Some(self.clone()) } else { self.split_after(after).1 }
    }

    /// The transactions up to `upto`.
    pub fn upto(&self, upto: Zxid) -> Option<Batch> {
        if self.first > upto { None } else { self.split_after(upto).0 }
    }
}

/// See [`Batch::iter`].
#[derive(Clone, Debug)]
pub struct Entries<'b> {
    entries: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Entries<'b> {
    type Item = (Zxid, &'b [u8]);

    fn next(&mut self) -> Option<(Zxid, &'b [u8])> {
        let (zxid, length) = decode_entry_header(&self.entries[self.at..])?;
        let start = self.at + ENTRY_HEADER_BYTES;
        self.at = start + length;
        Some((zxid, &self.entries[start..self.at]))
    }
}

/// A batch while it gathers.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Whole entries up to `end`, and perhaps the beginning of another.
    bytes: Vec<u8>,
    end: usize,
    count: usize,
    ends: Option<(Zxid, Zxid)>,
}

impl BatchBuilder {
    /// An empty one in this memory, whose content is forgotten.
    pub fn within(mut memory: Vec<u8>) -> BatchBuilder {
        memory.clear();
        BatchBuilder { bytes: memory, ..BatchBuilder::default() }
    }

    /// How many transactions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// Bytes of its memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The newest transaction.
    pub fn last(&self) -> Option<Zxid> {
        self.ends.map(|(_, last)| last)
    }

    /// Where the next transaction's bytes go; [`Self::end`] makes them one. What was put there before and
    /// was not made one is forgotten.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes.resize(self.end + ENTRY_HEADER_BYTES, 0);
        &mut self.bytes
    }

    /// What was put behind [`Self::begin`] is the transaction of `zxid`.
    ///
    /// # Panics
    /// If it does not follow the one before it.
    pub fn end(&mut self, zxid: Zxid) {
        assert!(self.ends.is_none_or(|(_, last)| follows(last, zxid)), "{zxid} after {:?}", self.ends);
        let start = self.end + ENTRY_HEADER_BYTES;
        let header = encode_entry_header(zxid, (self.bytes.len() - start) as u32);
        self.bytes[self.end..start].copy_from_slice(&header);
        self.ends = Some((self.ends.map_or(zxid, |(first, _)| first), zxid));
        self.end = self.bytes.len();
        self.count += 1;
    }

    /// Adds a transaction.
    ///
    /// # Panics
    /// As [`Self::end`].
    pub fn push(&mut self, zxid: Zxid, transaction: &[u8]) {
        self.begin().extend_from_slice(transaction);
        self.end(zxid);
    }

    /// All of them, if there is one.
    pub fn take(&mut self) -> Option<Batch> {
        let BatchBuilder { mut bytes, end, count, ends } = std::mem::take(self);
        let (first, last) = ends?;
        bytes.truncate(end);
        Some(Batch { entries: Bytes::from(bytes), first, last, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E: u64 = 1 << 32;

    fn batch(zxids: &[u64]) -> Batch {
        let mut builder = BatchBuilder::default();
        for zxid in zxids {
            builder.push(Zxid(*zxid), &vec![*zxid as u8; *zxid as usize % 7]);
        }
        builder.take().expect("a transaction")
    }

    fn zxids(batch: Option<Batch>) -> Vec<u64> {
        let Some(batch) = batch else { return Vec::new() };
        assert_eq!(Batch::decode(Bytes::copy_from_slice(batch.entries())), Ok(batch.clone()));
        let bytes = batch.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        assert_eq!((batch.count(), batch.transaction_bytes()), (batch.iter().count(), bytes));
        batch.iter().map(|(zxid, _)| zxid.0).collect()
    }

    #[test]
    fn pieces_are_whole_entries_and_no_longer_than_they_may_be() {
        let whole = batch(&[3, 4, 5, 6, 7, 8]);
        for bytes_max in 0..=whole.entries().len() {
            let pieces: Vec<Batch> = whole
                .pieces(bytes_max)
                .map(|(last, piece)| {
                    let piece = Batch::decode(Bytes::copy_from_slice(piece)).expect("a batch");
                    assert_eq!(piece.last(), last);
                    piece
                })
                .collect();
            assert_eq!(
                pieces.iter().flat_map(|piece| piece.entries().to_vec()).collect::<Vec<_>>(),
                whole.entries()
            );
            for pair in pieces.windows(2) {
                let [piece, next] = pair else { unreachable!("two") };
                assert!(piece.count() == 1 || piece.entries().len() <= bytes_max);
                let (_, first) = next.iter().next().expect("an entry");
                assert!(
                    piece.entries().len() + ENTRY_HEADER_BYTES + first.len() > bytes_max,
                    "as few as can be"
                );
            }
        }
        assert_eq!(whole.pieces(usize::MAX).count(), 1);
    }

    #[test]
    fn each_part_of_a_batch_is_one() {
        let all = [E + 3, E + 4, E + 5, 3 * E + 1, 3 * E + 2];
        let whole = batch(&all);
        for cut in [0, E + 2, E + 3, E + 4, E + 5, 2 * E, 3 * E + 1, 3 * E + 2, 9 * E] {
            let before: Vec<u64> = all.into_iter().filter(|zxid| *zxid <= cut).collect();
            let behind: Vec<u64> = all.into_iter().filter(|zxid| *zxid > cut).collect();
            assert_eq!(whole.newest_upto(Zxid(cut)), before.last().copied().map(Zxid));
            assert_eq!(zxids(whole.upto(Zxid(cut))), before);
            assert_eq!(zxids(whole.after(Zxid(cut))), behind);
        }
        let apart: Vec<Transaction> = whole.clone().into_transactions().collect();
        assert_eq!(Batch::of(&apart), Some(whole));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let whole = batch(&[E + 3, E + 4, E + 5]);
        let bytes = |batch: &Batch| Bytes::copy_from_slice(batch.entries());
        let ends: Vec<usize> = (1..4).map(|n| batch(&[E + 3, E + 4, E + 5][..n]).entries().len()).collect();
        for length in 0..whole.entries().len() {
            let read = Batch::decode(bytes(&whole).slice(..length));
            assert_eq!(read.is_ok(), ends.contains(&length), "{length} bytes");
        }
        let gap = [batch(&[E + 3]).entries(), batch(&[E + 5]).entries()].concat();
        assert_eq!(Batch::decode(gap.into()), Err(MessageError::Batch("it has a gap")));
        let again = [batch(&[E + 3]).entries(), batch(&[E + 3]).entries()].concat();
        assert!(Batch::decode(again.into()).is_err());
    }

    #[test]
    fn what_was_begun_and_not_ended_is_forgotten() {
        let mut builder = BatchBuilder::within(vec![9; 100]);
        builder.begin().extend_from_slice(b"refused");
        builder.push(Zxid(5), b"a");
        builder.begin().extend_from_slice(b"refused, too");
        assert_eq!((builder.count(), builder.last()), (1, Some(Zxid(5))));
        assert_eq!(builder.take(), Some(Batch::one(Zxid(5), b"a")));
        assert_eq!(builder.take(), None);
    }
}
