// Volumes in the pool that nobody claims, and claimed ones that are not there.
import { useQuery } from "@connectrpc/connect-query";
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import type { Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { VolumeService, type Unclaimed, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { Refused } from "../../ui/forbidden";
import { Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { formatName } from "../volume/words";

const MISSING: Column<Volume>[] = [
  {
    id: "name",
    header: "Name",
    cell: (v) => (
      <Link to="/volumes/$id" params={{ id: v.id }}>
        {v.name}
      </Link>
    ),
  },
  { id: "vm", header: "VM", cell: (v) => v.vm || <span className="q-muted">none</span> },
  { id: "size", header: "Size", numeric: true, cell: (v) => formatBytes(v.sizeBytes) },
  { id: "id", header: "Id", cell: (v) => <span className="q-mono">{v.id}</span> },
];

export function PoolOrphans({ pool }: { pool: Pool }) {
  const query = useQuery(VolumeService.method.listOrphans, { poolId: pool.id });
  const [open, setOpen] = useState<{ what: "adopt" | "delete"; orphan: Unclaimed }>();
  const columns: Column<Unclaimed>[] = [
    { id: "id", header: "Id", cell: (o) => <span className="q-mono">{o.volumeId}</span> },
    { id: "format", header: "Format", cell: (o) => formatName(o.format) },
    { id: "size", header: "Size", numeric: true, cell: (o) => formatBytes(o.sizeBytes) },
    { id: "taken", header: "On disk", numeric: true, cell: (o) => formatBytes(o.allocatedBytes) },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (o) => (
        <span className="q-nowrap">
          <Button variant="link" size="sm" onClick={() => setOpen({ what: "adopt", orphan: o })}>
            Adopt
          </Button>
          <Button variant="link" size="sm" onClick={() => setOpen({ what: "delete", orphan: o })}>
            Delete
          </Button>
        </span>
      ),
    },
  ];
  const close = () => {
    setOpen(undefined);
    void query.refetch();
  };
  if (query.error) return <Refused fault={faultOf(query.error)} onRetry={() => void query.refetch()} />;
  return (
    <div className="q-stack">
      <div className="q-toolbar">
        {query.data && (
          <span className="q-muted">
            compared with what {query.data.host} saw <Age at={ms(query.data.observedAt)} />
          </span>
        )}
        <Button variant="link" size="sm" onClick={() => void query.refetch()} isLoading={query.isFetching}>
          Compare again
        </Button>
      </div>
      <section aria-label="Unclaimed volumes">
        <h2 className="q-part">In the pool, claimed by nobody</h2>
        <DataTable
          label="Unclaimed volumes"
          rows={query.data?.unclaimed}
          columns={columns}
          rowId={(o) => o.volumeId}
          rowName={(o) => o.volumeId}
          empty={<Empty title="Every volume in the pool is known" />}
        />
      </section>
      <section aria-label="Missing volumes">
        <h2 className="q-part">Known, but not in the pool</h2>
        <DataTable label="Missing volumes" rows={query.data?.missing} columns={MISSING} rowId={(v) => v.id} rowName={(v) => v.name} empty={<Empty title="Every known volume is in the pool" />} />
      </section>
      {open?.what === "adopt" && <Adopt pool={pool} orphan={open.orphan} onClose={close} />}
      {open?.what === "delete" && <DeleteOrphan pool={pool} orphan={open.orphan} onClose={close} />}
    </div>
  );
}

interface One {
  pool: Pool;
  orphan: Unclaimed;
  onClose: () => void;
}

function Adopt({ pool, orphan, onClose }: One) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const [name, setName] = useState("");
  return (
    <Dialog
      title="Adopt volume"
      note={`${orphan.volumeId}, ${formatBytes(orphan.sizeBytes)}. It becomes a free volume under this name.`}
      size="small"
      submit="Adopt volume"
      busy={busy}
      disabled={name.trim() === ""}
      fault={fault}
      onSubmit={() => run(() => client.adoptOrphan({ poolId: pool.id, volumeId: orphan.volumeId, name: name.trim() }))}
      onClose={onClose}
    >
      <TextField label="Name" value={name} onChange={(_, v) => setName(v)} autoComplete="off" autoFocus />
    </Dialog>
  );
}

function DeleteOrphan({ pool, orphan, onClose }: One) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title="Delete the unclaimed volume?"
      verb="Delete volume"
      typedName={orphan.volumeId.slice(0, 8)}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.deleteOrphan({ poolId: pool.id, volumeId: orphan.volumeId }))}
      onClose={onClose}
    >
      <p>
        {orphan.volumeId} with {formatBytes(orphan.allocatedBytes)} on disk is lost. Another vDC may know it: be sure that it is nobody's. This cannot be undone.
      </p>
    </Confirm>
  );
}
