// How volumes are spoken of.
import { VolumeAllocation, VolumeFormat, VolumePhase, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
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
