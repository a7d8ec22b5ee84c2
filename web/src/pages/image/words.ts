// How images are spoken of.
import { ImageFormat, ImagePhase, type Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { UploadView } from "../../api/uploads";
import { formatBytes } from "../../ui/quantity";
import type { StatusView } from "../../ui/status";

export function imageStatus(image: Image, upload?: UploadView): StatusView {
  switch (image.phase) {
    case ImagePhase.UPLOADING:
      if (!upload) return { tone: "warn", label: "Upload paused" };
      if (upload.state === "waiting") return { tone: "warn", label: "Waiting for the line" };
      if (upload.state === "failed") return { tone: "error", label: "Upload broke off" };
      return { tone: "work", label: "Uploading" };
    case ImagePhase.VERIFYING:
      return { tone: "work", label: "Checking" };
    case ImagePhase.READY:
      return { tone: "ok", label: "Ready" };
    case ImagePhase.ERROR:
      return { tone: "error", label: "Error" };
    case ImagePhase.DELETING:
      return { tone: "work", label: "Deleting" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function imageFormatName(format: ImageFormat): string {
  switch (format) {
    case ImageFormat.ISO:
      return "ISO";
    case ImageFormat.QCOW2:
      return "qcow2";
    case ImageFormat.RAW:
      return "raw";
    default:
      return "not known yet";
  }
}

/** How large it is as a disk or as a file, and where it lies, beside its name. */
export function imageNote(image: Image): string {
  const size = image.format === ImageFormat.ISO ? image.sizeBytes : image.virtualSizeBytes;
  return `${formatBytes(size)}, pool ${image.pool}`;
}

function notReady(image: Image): string | undefined {
  return image.phase === ImagePhase.READY ? undefined : `${imageStatus(image).label.toLowerCase()}: not ready`;
}

/** Why an image cannot be the beginning of a disk. */
export function unlessDiskImage(image: Image): string | undefined {
  return notReady(image) ?? (image.format === ImageFormat.ISO ? "an ISO: it goes into the drive" : undefined);
}

/** Why an image cannot be in a drive. */
export function unlessIso(image: Image): string | undefined {
  return notReady(image) ?? (image.format === ImageFormat.ISO ? undefined : "a disk image: make a disk from it");
}
