// What somebody should look at now: first what nobody looks after, of that the worst. An alert goes by itself when it is over.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Checkbox, FormSelect, FormSelectOption } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { AlertService, type Alert } from "../../api/gen/quantix/alert/v1/alert_pb";
import { ORDERS, useAlerts } from "../../api/lists";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Filter } from "../../ui/filter";
import { ActionButton, Empty, PageTitle } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column, type Sort } from "../../ui/table";
import { Age } from "../../ui/time";
import { Told } from "./event-table";
import { ObjectLink } from "./object-link";
import { SEVERITIES, severityStatus } from "./words";

function Acknowledge({ alert }: { alert: Alert }) {
  const client = useClient(AlertService);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const right = useRight()("alert.acknowledge");
  const undo = alert.acknowledgedAt !== undefined;
  const send = async () => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.acknowledgeAlert({ id: alert.id, undo });
    } catch (error) {
      setFault(faultOf(error));
    } finally {
      setBusy(false);
    }
  };
  const word = undo ? "Take back" : "Acknowledge";
  return (
    <>
      <ActionButton variant="link" action={right} busy={busy} onClick={() => void send()} aria-label={`${word}: ${alert.message}`}>
        {word}
      </ActionButton>
      {fault && <FaultPanel fault={fault} onClose={() => setFault(undefined)} />}
    </>
  );
}

const COLUMNS: Column<Alert>[] = [
  { id: "urgency", header: "Severity", sort: (a) => a.severity, cell: (a) => <Status {...severityStatus(a.severity)} />, width: "120px" },
  { id: "what", header: "What", cell: (a) => <Told message={a.message} fault={a.fault} /> },
  { id: "object", header: "Object", cell: (a) => <ObjectLink kind={a.objectKind} id={a.objectId} name={a.objectName} /> },
  { id: "created", header: "Since", sort: (a) => (a.raisedAt ? timestampMs(a.raisedAt) : 0), cell: (a) => <Age at={a.raisedAt ? timestampMs(a.raisedAt) : undefined} />, width: "140px" },
  {
    id: "by",
    header: "Looked after by",
    cell: (a) =>
      a.acknowledgedAt ? (
        <>
          {a.acknowledgedBy}, <Age at={timestampMs(a.acknowledgedAt)} />
        </>
      ) : (
        "–"
      ),
  },
  { id: "acknowledge", header: "Actions", isHeaderHidden: true, cell: (a) => <Acknowledge alert={a} /> },
];

/** What needs somebody comes first. */
const USUAL: Sort = { id: "urgency", descending: true };

export function AlertsPage() {
  const page = usePageState();
  const open = page.search.open === true;
  const severity = SEVERITIES.find((s) => s.value === page.severity) ?? SEVERITIES[0];
  const list = useAlerts({ filter: page.filter, sort: page.sort, severity: severity.wire, open });
  const isNarrowed = page.filter !== "" || severity.value !== "" || open;
  return (
    <>
      <PageTitle title="Alerts" note="What the vDC finds wrong now. An alert goes by itself when it is over." />
      {(isNarrowed || (list.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter alerts by words" value={page.filter} onChange={page.setFilter} />
          <div>
            <FormSelect aria-label="Severity" value={severity.value} onChange={(_, s) => page.setSearch({ severity: s || undefined })}>
              {SEVERITIES.map((s) => (
                <FormSelectOption key={s.value} value={s.value} label={s.label} />
              ))}
            </FormSelect>
          </div>
          <Checkbox id="alerts-open" label="Only what nobody looks after" isChecked={open} onChange={(_, on) => page.setSearch({ open: on || undefined })} />
        </div>
      )}
      <DataTable
        label="Alerts"
        rows={list.rows}
        columns={COLUMNS}
        rowId={(a) => a.id}
        rowName={(a) => a.message}
        sort={page.sort ?? USUAL}
        onSort={page.setSort}
        orders={ORDERS.alerts}
        sortedByServer
        total={list.total}
        hasMore={list.hasMore}
        onMore={list.more}
        fault={list.error ? faultOf(list.error) : undefined}
        onRetry={list.again}
        empty={
          isNarrowed ? (
            <Empty title="No such alert">Nothing that is wrong now fits these words and this choice.</Empty>
          ) : (
            <Empty title="Nothing is wrong">Full pools, silent hosts, lost VMs and the like are listed here while they last.</Empty>
          )
        }
      />
    </>
  );
}
