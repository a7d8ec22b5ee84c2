//! Events and alerts on the wire.

use crate::api::error::reply;
use crate::api::{Assembly, Person, auth, if_there, page};
use crate::bus::Thing;
use crate::services::{App, alert, audit, event};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::alert::v1 as alerts;
use quantix_contract::quantix::event::v1 as events;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::right::{Permission, refused};
use quantix_store::{AlertFilter, EventFilter, PageRequest};
use std::sync::Arc;

struct Events(Arc<App>);
struct Alerts(Arc<App>);

/// Serves events and alerts.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Events(app.clone())));
    assembly.service(Arc::new(Alerts(app.clone())));
    let for_events = app.clone();
    assembly.view("event", move |thing| {
        let app = for_events.clone();
        async move {
            let Thing::Event(id) = thing else { return Ok(None) };
            Ok(if_there(event::get(&app, id).await)?.map(Event::from))
        }
    });
    let for_alerts = app.clone();
    assembly.view("alert", move |thing| {
        let app = for_alerts.clone();
        async move {
            let Thing::Alert(id) = thing else { return Ok(None) };
            Ok(if_there(alert::get(&app, id).await)?.map(Event::from))
        }
    });
}

impl Events {
    /// All events are for who may see all; those of one thing for who sees that.
    async fn check(&self, person: &Person, object_id: &str) -> Result<(), Fault> {
        if person.rights.everywhere().has(Permission::SystemView)
            || super::task::sees_object(&self.0, person, object_id).await?
        {
            return Ok(());
        }
        Err(refused(Permission::SystemView))
    }

    async fn list(
        &self,
        request: PageRequest,
        filter: EventFilter,
    ) -> Result<events::ListEventsResponse, Fault> {
        let page = event::list(&self.0, &request, &filter).await?;
        Ok(events::ListEventsResponse {
            events: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }
}

impl events::EventService for Events {
    async fn list_events(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, events::ListEventsRequest>,
    ) -> ServiceResult<events::ListEventsResponse> {
        let person = auth::person(&context)?;
        let work = async {
            self.check(person, request.object_id).await?;
            let severity = twin::read_opt("severity", request.severity)?;
            let filter = EventFilter { object_id: request.object_id.to_owned(), severity };
            self.list(page(request.filter, request.page_size, request.page_token, None)?, filter).await
        };
        reply(work.await)
    }
}

impl alerts::AlertService for Alerts {
    async fn list_alerts(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, alerts::ListAlertsRequest>,
    ) -> ServiceResult<alerts::ListAlertsResponse> {
        let asked = request.to_owned_message();
        let work = async {
            let order = asked.order.as_option();
            let request = page(&asked.filter, asked.page_size, &asked.page_token, order)?;
            let severity = twin::read_opt("severity", asked.severity)?;
            alert::list(&self.0, &request, AlertFilter { severity, open: asked.open }).await
        };
        reply(work.await)
    }

    async fn acknowledge_alert(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, alerts::AcknowledgeAlertRequest>,
    ) -> ServiceResult<alerts::Alert> {
        let user = auth::person(&context)?.name.clone();
        audit::about("alert", request.id, "");
        let work = async { alert::acknowledge(&self.0, request.id.parse()?, &user, request.undo).await };
        reply(work.await)
    }
}
