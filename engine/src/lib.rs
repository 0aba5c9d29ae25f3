//! What a transaction is and does.
