//! What the vDC does, by noun: checks with the rules, writes intent and task, and keeps what hosts report.

pub mod session;
