//! What hosts wrote down lately. Nothing of it is kept here: the host is asked each time, within two seconds.

use crate::services::{App, host};
use quantix_contract::quantix::log::v1 as wire;
use quantix_contract::time;
use quantix_model::Fault;
use quantix_model::id::HostId;

/// One page of a host's log.
pub async fn list(app: &App, request: wire::ListLogsRequest) -> Result<wire::ListLogsResponse, Fault> {
    let id: HostId = request.host_id.parse()?;
    let record = app.core.store.host_get(id).await?;
    let line = app.lines.to(app, &record)?;
    let asked = line.list_logs(request).await;
    let mut answer = asked.map_err(|fault| host::no_answer(app, &record, fault))?;
    line.name().clone_into(&mut answer.host);
    if !answer.observed_at.is_set() {
        answer.observed_at = time::to_proto(app.core.clock.now()).into();
    }
    Ok(answer)
}
