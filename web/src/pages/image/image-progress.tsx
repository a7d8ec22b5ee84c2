// How far an image is; an upload that lost its file can be resumed by choosing it again.
import { useRef, useState } from "react";
import { useApi } from "../../api/context";
import { ImagePhase, type Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { UploadView } from "../../api/uploads";
import { FaultPanel } from "../../ui/fault";
import { ActionButton, allowedOf, Progress } from "../../ui/parts";
import { formatBytes, formatRate } from "../../ui/quantity";
import { formatDuration } from "../../ui/time";

export function uploadText(u: UploadView): string {
  const amount = `${formatBytes(u.sentBytes)} of ${formatBytes(u.totalBytes)}`;
  if (u.state === "waiting") return `${amount} · trying again`;
  if (u.state === "sent") return `${amount} · all sent`;
  if (u.bytesPerSecond <= 0) return amount;
  const left = (u.totalBytes - u.sentBytes) / u.bytesPerSecond;
  return `${amount} · ${formatRate(u.bytesPerSecond)} · ${formatDuration(left * 1000)} left`;
}

export function ImageProgress({ image, upload, narrow = false }: { image: Image; upload?: UploadView; narrow?: boolean }) {
  if (image.phase === ImagePhase.VERIFYING) return <Progress label={`Check of ${image.name}`} done={0} total={0} text="Checking size, checksum and format on the host" />;
  if (image.phase !== ImagePhase.UPLOADING) return null;
  if (upload && upload.state !== "failed") {
    return <Progress label={`Upload of ${image.name}`} done={upload.sentBytes} total={upload.totalBytes} text={uploadText(upload)} />;
  }
  return (
    <>
      <Progress
        label={`Upload of ${image.name}`}
        done={Number(image.receivedBytes)}
        total={Number(image.sizeBytes)}
        text={`${formatBytes(image.receivedBytes)} of ${formatBytes(image.sizeBytes)} on the host`}
      />
      {upload?.fault && (narrow ? <div className="q-table__sub">{upload.fault.message}</div> : <FaultPanel fault={upload.fault} />)}
      <Resume image={image} />
    </>
  );
}

function Resume({ image }: { image: Image }) {
  const { uploads } = useApi();
  const input = useRef<HTMLInputElement>(null);
  const [wrong, setWrong] = useState<string>();
  const take = (file: File | undefined) => {
    if (!file) return;
    if (BigInt(file.size) !== image.sizeBytes) {
      setWrong(`${file.name} has ${formatBytes(file.size)}; this upload is of a file of ${formatBytes(image.sizeBytes)}.`);
      return;
    }
    void uploads.start(image.id, image.name, image.uploadPath, file);
  };
  return (
    <>
      <input ref={input} type="file" hidden aria-label={`File of ${image.name}`} onChange={(e) => take(e.target.files?.[0])} />
      <ActionButton variant="link" action={allowedOf(image.allowedActions, "upload")} onClick={() => input.current?.click()}>
        Choose the file again to resume
      </ActionButton>
      {wrong && <div className="q-field__error">{wrong}</div>}
    </>
  );
}
