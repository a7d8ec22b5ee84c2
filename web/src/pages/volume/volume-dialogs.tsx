// What can be done with a volume, each as a question that says what follows.
import { Checkbox } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { VolumeService, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import type { Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { VmSelect } from "../../shell/object-select";
import { Confirm, Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { formatBytes, GIB } from "../../ui/quantity";
import { useRun } from "../../ui/run";
import type { Choice } from "../../ui/search-select";

export type VolumeVerb = "grow" | "flatten" | "clone" | "attach" | "detach" | "delete";

interface Props {
  volume: Volume;
  onClose: () => void;
}

export function VolumeDialog({ verb, ...props }: Props & { verb: VolumeVerb }) {
  switch (verb) {
    case "grow":
      return <Grow {...props} />;
    case "flatten":
      return <Flatten {...props} />;
    case "clone":
      return <Clone {...props} snapshot="" />;
    case "attach":
      return <Attach {...props} />;
    case "detach":
      return <Detach {...props} />;
    case "delete":
      return <Delete {...props} />;
  }
}

function Grow({ volume, onClose }: Props) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const now = Number(volume.sizeBytes) / GIB;
  const [size, setSize] = useState(String(Math.ceil(now + 1)));
  const wanted = Math.round(Number(size) * GIB);
  const larger = Number.isFinite(wanted) && wanted > Number(volume.sizeBytes);
  return (
    <Dialog
      title={`Grow volume "${volume.name}"`}
      size="small"
      submit="Grow volume"
      busy={busy}
      disabled={!larger}
      fault={fault}
      onSubmit={() => run(() => client.growVolume({ id: volume.id, sizeBytes: BigInt(wanted) }))}
      onClose={onClose}
    >
      <TextField
        label="New size in GiB"
        type="number"
        min={0}
        step="any"
        value={size}
        onChange={(_, v) => setSize(v)}
        error={larger || size === "" ? undefined : `It has ${formatBytes(volume.sizeBytes)} now; a volume never shrinks.`}
        help={`${formatBytes(volume.sizeBytes)} now. The guest sees the new size at once, or at its next start; its file system must be grown in the guest.`}
        autoFocus
      />
    </Dialog>
  );
}

function Flatten({ volume, onClose }: Props) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Dialog
      title={`Make volume "${volume.name}" independent?`}
      size="small"
      submit="Make independent"
      busy={busy}
      fault={fault}
      onSubmit={() => run(() => client.flattenVolume({ id: volume.id }))}
      onClose={onClose}
    >
      <p>
        What it shares with {volume.linkedImage ? `the image ${volume.linkedImage}` : `the volume ${volume.parentVolume || volume.parentVolumeId}`} is copied, up to{" "}
        {formatBytes(volume.sizeBytes)} in pool {volume.pool}. After that it can be kept without it. What the guest sees does not change.
      </p>
    </Dialog>
  );
}

export function Clone({ volume, snapshot, onClose }: Props & { snapshot: string }) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const [name, setName] = useState(`${volume.name}-${snapshot || "clone"}`);
  const [linked, setLinked] = useState(false);
  return (
    <Dialog
      title={snapshot ? `Clone snapshot "${snapshot}" of "${volume.name}"` : `Clone volume "${volume.name}"`}
      size="small"
      submit="Clone volume"
      busy={busy}
      disabled={name.trim() === ""}
      fault={fault}
      onSubmit={() => run(() => client.cloneVolume({ id: volume.id, name: name.trim(), snapshot, linked }))}
      onClose={onClose}
    >
      <TextField label="Name of the new volume" value={name} onChange={(_, v) => setName(v)} autoComplete="off" autoFocus />
      <Checkbox
        id="clone-linked"
        label="Linked: share what is the same instead of copying"
        description={
          snapshot
            ? "Ready at once and takes little space; the snapshot must then stay."
            : "Ready at once and takes little space; the source must then stay, and can no longer be written."
        }
        isChecked={linked}
        onChange={(_, on) => setLinked(on)}
      />
    </Dialog>
  );
}

/** Why a VM cannot be given a disk. */
function unlessAttachable(vm: Vm): string | undefined {
  const action = vm.allowedActions.find((a) => a.verb === "attach_volume");
  return action && !action.allowed ? action.reasonIfNot : undefined;
}

function Attach({ volume, onClose }: Props) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  const [vm, setVm] = useState<Choice>();
  return (
    <Dialog
      title={`Attach volume "${volume.name}"`}
      size="small"
      submit="Attach volume"
      busy={busy}
      disabled={!vm}
      fault={fault}
      onSubmit={() => run(() => client.attachVolume({ id: volume.id, vmId: vm?.id }))}
      onClose={onClose}
    >
      <VmSelect label="VM" help="A running VM gets the disk at once." value={vm} unless={unlessAttachable} onChange={setVm} autoFocus />
    </Dialog>
  );
}

function Detach({ volume, onClose }: Props) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title={`Detach volume "${volume.name}" from ${volume.vm}?`}
      verb="Detach volume"
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.detachVolume({ id: volume.id }))}
      onClose={onClose}
    >
      <p>The volume stays, with all data on it. A running guest is asked to let go first: unmount its file systems there, or what was not written is lost.</p>
    </Confirm>
  );
}

function Delete({ volume, onClose }: Props) {
  const client = useClient(VolumeService);
  const { busy, fault, run } = useRun(onClose);
  return (
    <Confirm
      title={`Delete volume "${volume.name}"?`}
      verb="Delete volume"
      typedName={volume.name}
      busy={busy}
      fault={fault}
      onConfirm={() => run(() => client.deleteVolume({ id: volume.id }))}
      onClose={onClose}
    >
      <p>
        All data on it ({formatBytes(volume.sizeBytes)} in pool {volume.pool}) and all its snapshots are lost. This cannot be undone.
      </p>
    </Confirm>
  );
}
