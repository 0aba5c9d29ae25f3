//! Who decides the order.
