//! Beats: on time, whatever hangs.

use crate::vdc::TestVdc;
use crate::yard::{Machine, pool_id, pool_intent, until, volume_request};
use quantix_contract::twin;
use quantix_hypervisor::fake::Trouble;
use quantix_model::pool::PoolHealth;
use quantix_model::{Fault, FaultCode};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_pool_and_a_slow_hypervisor_delay_no_beat() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    let pool = machine.launcher.pool(pool_id());
    pool.killable(false);
    pool.stall(true);
    machine.driver.set_trouble(Trouble::Slow(Duration::from_secs(25)));
    for _ in 0..5 {
        let began = Instant::now();
        vdc.beat_that("the next", |_| true).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    // Whoever asks the stalled pool is refused in time, with the reason; the report says the same.
    let began = Instant::now();
    let fault = line.create_volume(volume_request()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolStalled);
    assert!(began.elapsed() < Duration::from_secs(5));
    let beat = vdc
        .beat_that("the stall", |b| {
            b.pools
                .iter()
                .any(|p| p.fault.as_option().is_some_and(|f| Fault::from(f).code == FaultCode::PoolStalled))
        })
        .await;
    assert_eq!(twin::read::<PoolHealth>("health", beat.pools[0].health).unwrap(), PoolHealth::Error);
    pool.stall(false);
    pool.killable(true);
    machine.driver.set_trouble(Trouble::None);
    vdc.beat_that("healthy again", |b| {
        b.pools.iter().any(|p| twin::read("health", p.health) == Ok(PoolHealth::Healthy))
    })
    .await;
    until("usable again", async || line.create_volume(volume_request()).await.ok()).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beats_count_up_and_tell_the_inventory_once() {
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(200).await);
    let (daemon, _) = machine.enrol(&vdc).await;
    until("six beats", async || (vdc.beats().len() >= 6).then_some(())).await;
    let beats = vdc.beats();
    assert!(beats.windows(2).all(|w| w[0].sequence < w[1].sequence && w[0].boot_id == w[1].boot_id));
    assert!(beats.iter().filter(|b| b.inventory.is_set()).count() < beats.len());
    assert!(beats.iter().all(|b| b.vitals.memory_total_bytes > 0));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vdc_that_was_away_hears_everything_again() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    vdc.beat_that("the first", |b| b.inventory.is_set()).await;
    vdc.set_down(true);
    line.apply_pool(pool_intent(1)).await.expect("the host works without its vDC");
    vdc.has_refused().await;
    vdc.set_down(false);
    let beat = vdc.beat_that("all of it", |b| b.inventory.is_set()).await;
    assert_eq!(beat.pools.len(), 1);
    daemon.stop().await;
}

/// A whole beat, and one that stands for it.
async fn settled(vdc: &TestVdc) {
    vdc.beat_that("one that stands for the last whole one", |b| b.figures.is_set() && b.pools.len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_told_again() {
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(200).await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    settled(&vdc).await;
    let slim = vdc.beat_that("a later one", |b| b.figures.is_set()).await;
    let figures = slim.figures.as_option().unwrap();
    assert_eq!(figures.pool_age_ms.len(), 1);
    assert!(!slim.state_digest.is_empty());

    // A change is told at once, and whole.
    machine.launcher.pool(pool_id()).stall(true);
    vdc.beat_that("the stall", |b| b.figures.is_unset() && b.pools.iter().any(|p| p.fault.is_set())).await;
    machine.launcher.pool(pool_id()).stall(false);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vdc_that_holds_something_else_is_told_everything_at_once() {
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(200).await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    settled(&vdc).await;
    // What it wants does not hang on what it was told.
    vdc.want_pools(vec![pool_intent(1)]);
    vdc.forget();
    let whole = vdc.beat_that("everything", |b| b.figures.is_unset()).await;
    assert!(whole.inventory.is_set(), "the hardware, too");
    assert_eq!(whole.pools.len(), 1);
    settled(&vdc).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_beat_without_answer_is_told_again() {
    let (machine, vdc) = (Machine::new(), TestVdc::with_interval(200).await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    settled(&vdc).await;
    vdc.lose_answers(true);
    vdc.has_refused().await;
    vdc.beat_that("the first whole one", |b| b.figures.is_unset()).await;
    vdc.beat_that("another", |b| b.figures.is_unset()).await;
    vdc.lose_answers(false);
    settled(&vdc).await;
    daemon.stop().await;
}
