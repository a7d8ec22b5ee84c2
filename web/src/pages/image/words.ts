// How images are spoken of.
import { ImageFormat, ImagePhase, type Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { UploadView } from "../../api/uploads";
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
