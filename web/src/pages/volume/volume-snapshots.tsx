// Snapshots of one volume, as its host lists them now.
import { useQuery } from "@connectrpc/connect-query";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { VolumeService, type Snapshot, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import { useTasks } from "../../api/lists";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { ActionButton, allowedOf, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { Clone } from "./volume-dialogs";

const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;
/** Lists are asked again when the volume's tasks move: the pool keeps snapshots, not the vDC. */
const ASK_AGAIN_MS = 10_000;

type Open = { what: "new" } | { what: "revert" | "delete" | "clone"; snapshot: Snapshot };

export function VolumeSnapshots({ volume }: { volume: Volume }) {
  const ended = useTasks({ objectId: volume.id }).rows?.filter((t) => t.endedAt).length ?? 0;
  const query = useQuery(VolumeService.method.listSnapshots, { volumeId: volume.id }, { refetchInterval: ASK_AGAIN_MS });
  const [seen, setSeen] = useState(ended);
  if (seen !== ended) {
    setSeen(ended);
    void query.refetch();
  }
  const [open, setOpen] = useState<Open>();
  const create = allowedOf(volume.allowedActions, "snapshot");
  const clone = allowedOf(volume.allowedActions, "clone");
  const revert = allowedOf(volume.allowedActions, "revert");
  const columns: Column<Snapshot>[] = [
    { id: "name", header: "Name", cell: (s) => s.name },
    { id: "created", header: "Taken", cell: (s) => <Age at={ms(s.createdAt)} /> },
    { id: "size", header: "Size then", numeric: true, cell: (s) => formatBytes(s.sizeBytes) },
    { id: "clones", header: "Linked clones", numeric: true, cell: (s) => s.clones },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (s) => (
        <span className="q-nowrap">
          <ActionButton variant="link" action={revert} onClick={() => setOpen({ what: "revert", snapshot: s })}>
            Revert
          </ActionButton>
          <ActionButton variant="link" action={clone} onClick={() => setOpen({ what: "clone", snapshot: s })}>
            Clone
          </ActionButton>
          <ActionButton
            variant="link"
            action={s.clones > 0 ? { verb: "delete", allowed: false, reasonIfNot: `${s.clones} linked clones need it.` } : { verb: "delete", allowed: true, reasonIfNot: "" }}
            onClick={() => setOpen({ what: "delete", snapshot: s })}
          >
            Delete
          </ActionButton>
        </span>
      ),
    },
  ];
  const close = () => {
    setOpen(undefined);
    void query.refetch();
  };
  return (
    <>
      <div className="q-toolbar">
        <ActionButton action={create} onClick={() => setOpen({ what: "new" })}>
          Take snapshot
        </ActionButton>
        {query.data && (
          <span className="q-muted">
            seen by {query.data.host} <Age at={ms(query.data.observedAt)} />
          </span>
        )}
      </div>
      <DataTable
        label="Snapshots"
        rows={query.data?.snapshots}
        columns={columns}
        rowId={(s) => s.name}
        rowName={(s) => s.name}
        fault={query.error ? faultOf(query.error) : undefined}
        onRetry={() => void query.refetch()}
        empty={<Empty title="No snapshot yet">A snapshot keeps the volume as it is now, so that one can go back. It is no backup: it lies in the same pool.</Empty>}
      />
      {open?.what === "new" && <NewSnapshot volume={volume} onClose={close} />}
      {open?.what === "clone" && <Clone volume={volume} snapshot={open.snapshot.name} onClose={close} />}
      {open?.what === "revert" && <Revert volume={volume} snapshot={open.snapshot} onClose={close} />}
      {open?.what === "delete" && <DeleteSnapshot volume={volume} snapshot={open.snapshot} onClose={close} />}
    </>
  );
}

function NewSnapshot({ volume, onClose }: { volume: Volume; onClose: () => void }) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const [name, setName] = useState(() => `${new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-")}`);
  const good = NAME.test(name);
  return (
    <Dialog
      title={`Take snapshot of "${volume.name}"`}
      size="small"
      submit="Take snapshot"
      busy={busy}
      disabled={!good}
      fault={fault}
      onSubmit={() => run(() => client.createSnapshot({ volumeId: volume.id, name }))}
      onClose={onClose}
    >
      <TextField
        label="Name"
        value={name}
        onChange={(_, v) => setName(v)}
        error={good ? undefined : "1 to 40 of a-z, 0-9 and -, starting and ending with a letter or digit."}
        help="1 to 40 of a-z, 0-9 and -"
        autoComplete="off"
        autoFocus
      />
    </Dialog>
  );
}

interface OneSnapshot {
  volume: Volume;
  snapshot: Snapshot;
  onClose: () => void;
}

function Revert({ volume, snapshot, onClose }: OneSnapshot) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title={`Revert "${volume.name}" to snapshot "${snapshot.name}"?`}
      verb="Revert volume"
      typedName={volume.name}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.revertSnapshot({ volumeId: volume.id, name: snapshot.name }))}
      onClose={onClose}
    >
      <p>
        All that was written since <Age at={ms(snapshot.createdAt)} /> is lost. The snapshot stays.
      </p>
    </Confirm>
  );
}

function DeleteSnapshot({ volume, snapshot, onClose }: OneSnapshot) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title={`Delete snapshot "${snapshot.name}" of "${volume.name}"?`}
      verb="Delete snapshot"
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.deleteSnapshot({ volumeId: volume.id, name: snapshot.name }))}
      onClose={onClose}
    >
      <p>One can no longer go back to it. The volume itself stays as it is.</p>
    </Confirm>
  );
}
