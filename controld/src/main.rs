//! `dlm_controld`.
fn main() {}
