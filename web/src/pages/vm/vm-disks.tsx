// Disks of one VM: what it has, giving it another, growing, taking one away.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useClient } from "../../api/context";
import { VolumeService, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import type { Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { VolumeSelect } from "../../shell/object-select";
import { Dialog } from "../../ui/dialog";
import { ActionButton, allowedOf, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import type { Choice } from "../../ui/search-select";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { VolumeDialog, type VolumeVerb } from "../volume/volume-dialogs";
import { formatName, unlessFree, volumeNote, volumeStatus } from "../volume/words";

export function VmDisks({ vm }: { vm: Vm }) {
  const [open, setOpen] = useState<{ verb: VolumeVerb; volume: Volume }>();
  const [attaching, setAttaching] = useState(false);
  const columns: Column<Volume>[] = [
    {
      id: "name",
      header: "Name",
      cell: (v) => (
        <Link to="/volumes/$id" params={{ id: v.id }}>
          {v.name}
        </Link>
      ),
    },
    { id: "state", header: "State", cell: (v) => <Status {...volumeStatus(v)} /> },
    {
      id: "pool",
      header: "Pool",
      cell: (v) => (
        <Link to="/pools/$id" params={{ id: v.poolId }}>
          {v.pool}
        </Link>
      ),
    },
    { id: "format", header: "Format", cell: (v) => formatName(v.format) },
    { id: "size", header: "Size", numeric: true, cell: (v) => formatBytes(v.sizeBytes) },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (v) => (
        <span className="q-nowrap">
          <ActionButton variant="link" action={allowedOf(v.allowedActions, "grow")} onClick={() => setOpen({ verb: "grow", volume: v })}>
            Grow
          </ActionButton>
          <ActionButton variant="link" action={allowedOf(v.allowedActions, "detach")} onClick={() => setOpen({ verb: "detach", volume: v })}>
            Detach
          </ActionButton>
        </span>
      ),
    },
  ];
  return (
    <>
      <div className="q-toolbar">
        <ActionButton action={allowedOf(vm.allowedActions, "attach_volume")} onClick={() => setAttaching(true)}>
          Attach volume
        </ActionButton>
      </div>
      <DataTable
        label="Disks"
        rows={vm.volumes}
        columns={columns}
        rowId={(v) => v.id}
        rowName={(v) => v.name}
        empty={<Empty title="This VM has no disk">Attach a free volume to give it one.</Empty>}
      />
      {attaching && <AttachFree vm={vm} onClose={() => setAttaching(false)} />}
      {open && <VolumeDialog verb={open.verb} volume={open.volume} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function AttachFree({ vm, onClose }: { vm: Vm; onClose: () => void }) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const [volume, setVolume] = useState<Choice>();
  return (
    <Dialog
      title={`Attach a volume to "${vm.name}"`}
      size="small"
      submit="Attach volume"
      busy={busy}
      disabled={!volume}
      fault={fault}
      onSubmit={() => run(() => client.attachVolume({ id: volume?.id, vmId: vm.id }))}
      onClose={onClose}
    >
      <VolumeSelect label="Volume" help="A running VM gets the disk at once." value={volume} note={volumeNote} unless={unlessFree} onChange={setVolume} autoFocus />
    </Dialog>
  );
}
