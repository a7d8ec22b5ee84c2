// What somebody should look at, and what happened last.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Link } from "@tanstack/react-router";
import { faultOf } from "../../api/fault";
import { useEvents, useOpenAlerts } from "../../api/lists";
import { FaultPanel } from "../../ui/fault";
import { Card } from "../../ui/parts";
import { Status } from "../../ui/status";
import { Age } from "../../ui/time";
import { ObjectLink } from "../event/object-link";
import { severityStatus } from "../event/words";

const ROWS = 6;

export function Alerts() {
  const query = useOpenAlerts();
  const open = query.data?.alerts ?? [];
  const more = Number(query.data?.total ?? 0n) - open.length;
  const kept = Number(query.data?.lookedAfter ?? 0n);
  return (
    <Card title="Alerts" aside={<Link to="/alerts">All alerts</Link>}>
      {query.error && <FaultPanel fault={faultOf(query.error)} />}
      {query.data && open.length === 0 && <Status tone="ok" label={kept > 0 ? `Nothing new; ${kept} looked after` : "None"} />}
      <ul className="q-list">
        {open.map((a) => (
          <li key={a.id}>
            <Status {...severityStatus(a.severity)} />
            <span>{a.message}</span>
            <ObjectLink kind={a.objectKind} id={a.objectId} name={a.objectName} />
            <span className="q-muted q-list__end">
              <Age at={a.raisedAt ? timestampMs(a.raisedAt) : undefined} />
            </span>
          </li>
        ))}
      </ul>
      {more > 0 && <p className="q-muted">and {more.toLocaleString("en")} more</p>}
    </Card>
  );
}

export function RecentEvents() {
  const events = useEvents();
  return (
    <Card title="Recent events" aside={<Link to="/events">All events</Link>}>
      {events.error ? <FaultPanel fault={faultOf(events.error)} /> : null}
      {events.rows?.length === 0 && <p className="q-muted">No event yet.</p>}
      <ul className="q-list">
        {events.rows?.slice(0, ROWS).map((e) => (
          <li key={e.id}>
            <Status {...severityStatus(e.severity)} />
            <span>{e.message}</span>
            <span className="q-muted q-list__end">
              <Age at={e.at ? timestampMs(e.at) : undefined} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
