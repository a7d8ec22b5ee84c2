// Sessions of one person: where they are signed in, and the way to end that.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import type { SessionFacts } from "../../api/gen/quantix/session/v1/session_pb";
import { Empty } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, formatDuration, useNow } from "../../ui/time";
import { PROOFS, sessionName } from "./words";

function Left({ until }: { until: number }) {
  const now = useNow();
  return <>in {formatDuration(until - now)}</>;
}

export function SessionTable({ sessions, busy, onRevoke }: { sessions: readonly SessionFacts[] | undefined; busy: boolean; onRevoke: (session: SessionFacts) => void }) {
  const columns: Column<SessionFacts>[] = [
    {
      id: "browser",
      header: "Program",
      cell: (s) => (
        <>
          {s.browser || <span className="q-muted">did not say</span>}
          {s.current && <Status tone="ok" label="This one" />}
        </>
      ),
    },
    { id: "address", header: "Address", cell: (s) => <span className="q-mono">{s.address}</span> },
    { id: "proof", header: "Signed in with", cell: (s) => PROOFS[s.proof] },
    { id: "created", header: "Since", cell: (s) => <Age at={s.createdAt && timestampMs(s.createdAt)} /> },
    { id: "used", header: "Last used", cell: (s) => <Age at={s.usedAt && timestampMs(s.usedAt)} /> },
    { id: "expires", header: "Ends", cell: (s) => (s.expiresAt ? <Left until={timestampMs(s.expiresAt)} /> : "–") },
    {
      id: "action",
      header: "Actions",
      isHeaderHidden: true,
      cell: (s) =>
        s.current ? null : (
          <Button variant="link" size="sm" isInline isDisabled={busy} aria-label={`End session: ${sessionName(s)}`} onClick={() => onRevoke(s)}>
            End
          </Button>
        ),
    },
  ];
  return (
    <DataTable
      label="Sessions"
      rows={sessions}
      columns={columns}
      rowId={(s) => s.id}
      rowName={sessionName}
      total={sessions?.length}
      sortedByServer
      empty={<Empty title="Not signed in anywhere">A session is listed here from signing in until signing out.</Empty>}
    />
  );
}
