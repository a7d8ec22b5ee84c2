// Sessions of one person: where they are signed in, and the way to end that.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { SessionFacts } from "../../api/gen/quantix/session/v1/session_pb";
import { ActionButton, Empty, type Allowed } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age, formatDuration, useNow } from "../../ui/time";
import { PROOFS, sessionName } from "./words";

function Left({ until }: { until: number }) {
  const now = useNow();
  return <>in {formatDuration(until - now)}</>;
}

/** One's own sessions one may always end. */
const OWN: Allowed = { verb: "end", allowed: true, reasonIfNot: "" };

interface SessionTableProps {
  sessions: readonly SessionFacts[] | undefined;
  busy: boolean;
  end?: Allowed;
  onRevoke: (session: SessionFacts) => void;
}

export function SessionTable({ sessions, busy, end = OWN, onRevoke }: SessionTableProps) {
  const columns: Column<SessionFacts>[] = [
    {
      id: "browser",
      header: "Program",
      cell: (s) => (
        <span className="q-actions">
          {s.browser || <span className="q-muted">did not say</span>}
          {s.current && <Status tone="ok" label="This one" />}
        </span>
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
          <ActionButton variant="link" busy={busy} action={end} aria-label={`End session: ${sessionName(s)}`} onClick={() => onRevoke(s)}>
            End
          </ActionButton>
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
