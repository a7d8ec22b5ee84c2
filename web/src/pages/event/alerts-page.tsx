// What somebody should look at now, worst first. An alert goes by itself when it is over.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { AlertService, type Alert } from "../../api/gen/quantix/alert/v1/alert_pb";
import { useAlerts } from "../../api/lists";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Empty, PageTitle } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { Told } from "./event-table";
import { ObjectLink } from "./object-link";
import { severityStatus } from "./words";

function Acknowledge({ alert }: { alert: Alert }) {
  const client = useClient(AlertService);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
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
      <Button variant="link" size="sm" isInline isLoading={busy} isDisabled={busy} onClick={() => void send()} aria-label={`${word}: ${alert.message}`}>
        {word}
      </Button>
      {fault && <FaultPanel fault={fault} onClose={() => setFault(undefined)} />}
    </>
  );
}

const COLUMNS: Column<Alert>[] = [
  { id: "severity", header: "Severity", cell: (a) => <Status {...severityStatus(a.severity)} />, width: "120px" },
  { id: "what", header: "What", cell: (a) => <Told message={a.message} fault={a.fault} /> },
  { id: "object", header: "Object", cell: (a) => <ObjectLink kind={a.objectKind} id={a.objectId} name={a.objectName} /> },
  { id: "raised", header: "Since", cell: (a) => <Age at={a.raisedAt ? timestampMs(a.raisedAt) : undefined} />, width: "140px" },
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

export function AlertsPage() {
  const query = useAlerts();
  if (query.error && !query.data) return <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />;
  return (
    <>
      <PageTitle title="Alerts" note="What the vDC finds wrong now. An alert goes by itself when it is over." />
      <DataTable
        label="Alerts"
        rows={query.data?.alerts}
        columns={COLUMNS}
        rowId={(a) => a.id}
        rowName={(a) => a.message}
        total={query.data?.alerts.length}
        sortedByServer
        empty={<Empty title="Nothing is wrong">Full pools, silent hosts, lost VMs and the like are listed here while they last.</Empty>}
      />
    </>
  );
}
