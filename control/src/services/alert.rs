//! What somebody should look at: findings of the rules become alerts, and go when they are over.
//!
//! An alert is one rule on one object, and its id is made from these two: found twice it is still one.

use crate::bus::Thing;
use crate::services::{App, event};
use quantix_contract::quantix::alert::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::Fault;
use quantix_model::alert::{AlertRule, Finding};
use quantix_model::event::{EventKind, Severity};
use quantix_model::id::AlertId;
use quantix_store::{AlertFilter, AlertRecord, PageRequest, StoreError};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Things that have alerts, or had some in this life of the vDC: all others need no look into the store.
#[derive(Debug, Default)]
pub struct Alerted(Mutex<HashSet<Uuid>>);

impl Alerted {
    fn things(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alerted {
    /// Whether a thing has alerts, or had some in this life of the vDC.
    pub fn has(&self, thing: Thing) -> bool {
        self.things().contains(&thing.id())
    }
}

/// Reads which things have alerts; answers them.
pub async fn remember(app: &App) -> Result<Vec<Thing>, Fault> {
    let alerts = app.core.store.alert_all().await?;
    let things: Vec<Thing> =
        alerts.iter().filter_map(|a| Thing::parse(&a.object_kind, &a.object_id)).collect();
    app.alerted.things().extend(things.iter().map(|thing| thing.id()));
    Ok(things)
}

/// The id of a rule's alert on an object.
fn id_of(rule: AlertRule, object: Uuid) -> AlertId {
    AlertId(Uuid::new_v5(&object, rule.as_str().as_bytes()))
}

/// A page of them: those nobody looks after first, of these the worst, then the newest.
pub async fn list(
    app: &App,
    request: &PageRequest,
    filter: AlertFilter,
) -> Result<wire::ListAlertsResponse, Fault> {
    let page = app.core.store.alert_page(request, filter).await?;
    Ok(wire::ListAlertsResponse {
        alerts: page.rows.iter().map(view).collect(),
        next_page_token: page.next_token,
        total: page.total,
        looked_after: app.core.store.alert_count_looked_after().await?,
        ..Default::default()
    })
}

/// An alert as shown.
pub async fn get(app: &App, id: AlertId) -> Result<wire::Alert, Fault> {
    Ok(view(&app.core.store.alert_get(id).await?))
}

fn view(alert: &AlertRecord) -> wire::Alert {
    wire::Alert {
        id: alert.id.to_string(),
        rule: alert.rule.as_str().to_owned(),
        severity: twin::write(alert.severity),
        object_kind: alert.object_kind.clone(),
        object_id: alert.object_id.clone(),
        object_name: alert.object_name.clone(),
        message: alert.message.clone(),
        fault: alert.fault.as_ref().map(Into::into).into(),
        raised_at: time::to_proto(alert.raised_at).into(),
        acknowledged_at: alert.acknowledged_at.map(time::to_proto).into(),
        acknowledged_by: alert.acknowledged_by.clone(),
        ..Default::default()
    }
}

/// How bad a rule's alert on a thing is, when there is one.
pub async fn raised(app: &App, thing: Thing, rule: AlertRule) -> Result<Option<Severity>, Fault> {
    if !app.alerted.things().contains(&thing.id()) {
        return Ok(None);
    }
    let alerts = app.core.store.alert_of(&thing.id().to_string()).await?;
    Ok(alerts.into_iter().find(|alert| alert.rule == rule).map(|alert| alert.severity))
}

/// Brings a thing's alerts in line with what the rules found of it now.
pub async fn settle(app: &App, thing: Thing, name: &str, found: Vec<Finding>) -> Result<(), Fault> {
    // Noted before anything is written: too many are looked at then, never too few.
    match found.is_empty() {
        true if !app.alerted.things().contains(&thing.id()) => return Ok(()),
        true => {}
        false => drop(app.alerted.things().insert(thing.id())),
    }
    let object_id = thing.id().to_string();
    let have = app.core.store.alert_of(&object_id).await?;
    let (mut written, mut raised) = (Vec::new(), Vec::new());
    for finding in &found {
        let id = id_of(finding.rule, thing.id());
        let was = have.iter().find(|alert| alert.id == id);
        let now = match was {
            // Worse than what somebody said they look after is news to them.
            Some(was) if finding.severity <= was.severity => AlertRecord {
                severity: finding.severity,
                message: finding.message.clone(),
                fault: finding.fault.clone(),
                object_name: name.to_owned(),
                ..was.clone()
            },
            _ => AlertRecord {
                id,
                rule: finding.rule,
                severity: finding.severity,
                object_kind: thing.kind().to_owned(),
                object_id: object_id.clone(),
                object_name: name.to_owned(),
                message: finding.message.clone(),
                fault: finding.fault.clone(),
                raised_at: was.map_or_else(|| app.core.clock.now(), |was| was.raised_at),
                acknowledged_at: None,
                acknowledged_by: String::new(),
            },
        };
        if was.is_none_or(|was| says_more(was, &now)) {
            if was.is_none_or(|was| was.severity < now.severity) {
                raised.push(now.clone());
            }
            written.push(now);
        }
    }
    let over: Vec<&AlertRecord> =
        have.iter().filter(|a| !found.iter().any(|f| id_of(f.rule, thing.id()) == a.id)).collect();
    change(app, &written, &raised, &over).await
}

/// Whether a difference is worth a write: sentences carry moving figures, which alone are not.
fn says_more(was: &AlertRecord, now: &AlertRecord) -> bool {
    let code = |alert: &AlertRecord| alert.fault.as_ref().map(|fault| fault.code);
    (was.severity, code(was), &was.object_name) != (now.severity, code(now), &now.object_name)
}

/// Takes a thing's alerts away: it is gone.
pub async fn forget(app: &App, thing: Thing) -> Result<(), Fault> {
    let have = app.core.store.alert_of(&thing.id().to_string()).await?;
    change(app, &[], &[], &have.iter().collect::<Vec<_>>()).await
}

async fn change(
    app: &App,
    written: &[AlertRecord],
    raised: &[AlertRecord],
    over: &[&AlertRecord],
) -> Result<(), Fault> {
    if written.is_empty() && over.is_empty() {
        return Ok(());
    }
    let gone: Vec<AlertId> = over.iter().map(|alert| alert.id).collect();
    app.core.store.alert_settle(written, &gone).await?;
    for alert in raised {
        event::of_alert(app, EventKind::AlertRaised, alert, "").await?;
    }
    for alert in over {
        event::of_alert(app, EventKind::AlertCleared, alert, "").await?;
    }
    for id in written.iter().map(|alert| alert.id).chain(gone) {
        app.core.bus.changed(Thing::Alert(id));
    }
    Ok(())
}

/// Somebody looks after it, or does no longer.
pub async fn acknowledge(app: &App, id: AlertId, user: &str, undo: bool) -> Result<wire::Alert, Fault> {
    let now = app.core.clock.now();
    let mut changed = false;
    let alert = app
        .core
        .store
        .alert_update(id, |alert| {
            changed = alert.acknowledged_at.is_some() == undo;
            if changed {
                alert.acknowledged_at = (!undo).then_some(now);
                alert.acknowledged_by = if undo { String::new() } else { user.to_owned() };
            }
            Ok::<(), StoreError>(())
        })
        .await?;
    if changed {
        if !undo {
            event::of_alert(app, EventKind::AlertAcknowledged, &alert, user).await?;
        }
        app.core.bus.changed(Thing::Alert(id));
    }
    Ok(view(&alert))
}
