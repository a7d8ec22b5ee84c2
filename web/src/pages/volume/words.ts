// How volumes are spoken of.
import { VolumeAllocation, VolumeFormat, VolumePhase, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import { formatBytes } from "../../ui/quantity";
import type { StatusView } from "../../ui/status";

export function volumeStatus(volume: Volume): StatusView {
  switch (volume.phase) {
    case VolumePhase.READY:
      return { tone: "ok", label: volume.vmId ? "In use" : "Free" };
    case VolumePhase.CREATING:
      return { tone: "work", label: "Creating" };
    case VolumePhase.ERROR:
      return { tone: "error", label: "Error" };
    case VolumePhase.DELETING:
      return { tone: "work", label: "Deleting" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function formatName(format: VolumeFormat): string {
  return format === VolumeFormat.QCOW2 ? "qcow2" : format === VolumeFormat.RAW ? "raw" : "unknown";
}

export function allocationName(allocation: VolumeAllocation): string {
  return allocation === VolumeAllocation.THICK ? "all at once (thick)" : allocation === VolumeAllocation.THIN ? "as it fills (thin)" : "";
}

/** Its size and where it lies, beside its name. */
export function volumeNote(volume: Volume): string {
  return `${formatBytes(volume.sizeBytes)}, pool ${volume.pool}`;
}

/** Why a volume cannot be given to a VM. */
export function unlessFree(volume: Volume): string | undefined {
  if (volume.vmId !== "") return `VM ${volume.vm} has it`;
  const attach = volume.allowedActions.find((a) => a.verb === "attach");
  if (attach && !attach.allowed) return attach.reasonIfNot;
  return volume.phase === VolumePhase.READY ? undefined : `${volumeStatus(volume).label.toLowerCase()}: not ready`;
}
