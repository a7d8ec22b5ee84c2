// Disks of one VM: what it has, giving it another, growing, taking one away.
import { Button } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useClient } from "../../api/context";
import { VolumePhase, VolumeService, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import type { Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { useVolumes } from "../../api/lists";
import { Dialog } from "../../ui/dialog";
import { SelectField } from "../../ui/field";
import { ActionButton, allowedOf, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { VolumeDialog, type VolumeVerb } from "../volume/volume-dialogs";
import { formatName, volumeStatus } from "../volume/words";

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
        <Button variant="secondary" size="sm" onClick={() => setAttaching(true)}>
          Attach volume
        </Button>
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
  const volumes = useVolumes().rows;
  const free = volumes?.filter((v) => v.vmId === "" && v.phase === VolumePhase.READY) ?? [];
  const [id, setId] = useState("");
  return (
    <Dialog
      title={`Attach a volume to "${vm.name}"`}
      size="small"
      submit="Attach volume"
      busy={busy}
      disabled={id === ""}
      fault={fault}
      onSubmit={() => run(() => client.attachVolume({ id, vmId: vm.id }))}
      onClose={onClose}
    >
      <SelectField
        label="Volume"
        help={volumes && free.length === 0 ? "No volume is free. Create one under Volumes." : "A running VM gets the disk at once."}
        value={id}
        onChange={setId}
        options={[{ value: "", label: "Choose a volume", disabled: true }, ...free.map((v) => ({ value: v.id, label: `${v.name} (${formatBytes(v.sizeBytes)}, pool ${v.pool})` }))]}
      />
    </Dialog>
  );
}
