//! Letting every task run without moving the clock.

/// Lets every task that can run do so, without moving the clock.
#[allow(unreachable_pub, reason = "each test file includes it")]
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
