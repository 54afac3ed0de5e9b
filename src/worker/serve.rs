//! The worker's loop: one order in, one answer out, until the input ends.

/// Serves orders from standard input until it ends.
pub async fn serve() -> std::io::Result<()> {
    todo!()
}
