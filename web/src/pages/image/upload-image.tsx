// Upload image: choose a file and a pool, then watch it arrive.
import { Button } from "@patternfly/react-core";
import { zodResolver } from "@hookform/resolvers/zod";
import { useNavigate } from "@tanstack/react-router";
import { useId, useState, useSyncExternalStore } from "react";
import { useForm } from "react-hook-form";
import { z } from "../../ui/rules";
import { useQuery } from "@connectrpc/connect-query";
import { useApi, useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { ImagePhase, ImageService } from "../../api/gen/quantix/image/v1/image_pb";
import { usePools } from "../../api/lists";
import { PoolSelect } from "../../shell/object-select";
import { Dialog } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { TextField } from "../../ui/field";
import { Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import type { Choice } from "../../ui/search-select";
import { Status } from "../../ui/status";
import { poolNote, unlessPool } from "../pool/words";
import { ImageProgress } from "./image-progress";
import { imageStatus } from "./words";

const schema = z.object({
  name: z.string().trim().min(1, "A name is needed.").max(128, "128 characters at most."),
  poolId: z.string().min(1, "Choose a pool."),
  sha256: z.string().trim().regex(/^([0-9a-fA-F]{64})?$/, "A SHA-256 has 64 hex digits."),
});
type Values = z.infer<typeof schema>;

export function UploadDialog({ onClose }: { onClose: () => void }) {
  const { uploads, queries } = useApi();
  const client = useClient(ImageService);
  const navigate = useNavigate();
  const pools = usePools().rows;
  const fileId = useId();
  const [file, setFile] = useState<File>();
  const [fileError, setFileError] = useState<string>();
  const [imageId, setImageId] = useState("");
  const [fault, setFault] = useState<FaultView>();
  const form = useForm<Values>({ resolver: zodResolver(schema), defaultValues: { name: "", poolId: "", sha256: "" } });
  const { errors, isSubmitting } = form.formState;
  /** Null: what was chosen is taken back. */
  const [picked, setPicked] = useState<Choice | null>();
  // Of one there is nothing to choose.
  const only = pools?.length === 1 && pools[0] && !unlessPool("upload_image")(pools[0]) ? pools[0] : undefined;
  const pool = picked === undefined ? only : (picked ?? undefined);
  const poolId = pool?.id ?? "";
  if (poolId !== form.getValues("poolId")) form.setValue("poolId", poolId, { shouldValidate: form.formState.isSubmitted });

  const take = (next: File | undefined) => {
    setFile(next);
    setFileError(undefined);
    if (next && !form.formState.dirtyFields.name) form.setValue("name", next.name);
  };
  const submit = form.handleSubmit(async (v) => {
    if (!file) {
      setFileError("Choose a file.");
      return;
    }
    setFault(undefined);
    try {
      const { image, uploadPath } = await client.createImage({
        name: v.name,
        poolId: v.poolId,
        sizeBytes: BigInt(file.size),
        sha256: v.sha256.toLowerCase(),
      });
      if (!image) return;
      setImageId(image.id);
      void uploads.start(image.id, image.name, uploadPath, file);
      void queries.invalidateQueries();
    } catch (error) {
      setFault(faultOf(error));
    }
  });
  if (imageId !== "") return <Arriving imageId={imageId} onClose={onClose} />;
  if (pools?.length === 0) {
    return (
      <Dialog title="Upload image" onClose={onClose} submit="Create pool" onSubmit={() => void navigate({ to: "/pools", search: { new: true } })}>
        <Empty title="No pool yet">An image lies in a pool: create one first.</Empty>
      </Dialog>
    );
  }
  return (
    <Dialog
      title="Upload image"
      note="An ISO, or a disk image as qcow2 or raw. What it is, the host finds out from its content."
      size="small"
      submit="Upload image"
      busy={isSubmitting}
      fault={fault}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <div className="q-field">
        <label htmlFor={fileId}>File</label>
        <input id={fileId} type="file" className="q-pick" accept=".iso,.qcow2,.img,.raw,application/octet-stream,*/*" onChange={(e) => take(e.target.files?.[0])} />
        {fileError ? <div className="q-field__error">{fileError}</div> : file && <div className="q-field__help">{formatBytes(file.size)}</div>}
      </div>
      <TextField label="Name" error={errors.name?.message} autoComplete="off" {...form.register("name")} />
      <PoolSelect
        label="Pool"
        error={errors.poolId?.message}
        value={pool}
        note={poolNote}
        unless={unlessPool("upload_image")}
        onChange={(chosen) => setPicked(chosen ?? null)}
      />
      <TextField
        label="SHA-256"
        optional
        help="If given, the image becomes ready only when the bytes that arrived have it."
        error={errors.sha256?.message}
        className="q-mono"
        autoComplete="off"
        spellCheck={false}
        {...form.register("sha256")}
      />
    </Dialog>
  );
}

function Arriving({ imageId, onClose }: { imageId: string; onClose: () => void }) {
  const { uploads } = useApi();
  const client = useClient(ImageService);
  const navigate = useNavigate();
  const image = useQuery(ImageService.method.getImage, { id: imageId }).data;
  const upload = useSyncExternalStore(uploads.subscribe, uploads.snapshot).find((u) => u.imageId === imageId);
  const [fault, setFault] = useState<FaultView>();
  const ready = image?.phase === ImagePhase.READY;
  const failed = image?.phase === ImagePhase.ERROR;
  const cancel = async () => {
    try {
      await uploads.stop(imageId);
      await client.deleteImage({ id: imageId });
      onClose();
    } catch (error) {
      setFault(faultOf(error));
    }
  };
  return (
    <Dialog
      title={`Upload image${image ? ` "${image.name}"` : ""}`}
      size="small"
      submit={ready ? "Create VM" : undefined}
      onSubmit={() => void navigate({ to: "/vms", search: { new: true } })}
      closeLabel={ready || failed ? "Close" : "Go on in the background"}
      fault={fault ?? (image?.fault && viewOf(image.fault))}
      onClose={onClose}
    >
      {image && (
        <>
          <Status {...imageStatus(image, upload)} />
          <ImageProgress image={image} upload={upload} />
          {ready && <p>The image is in pool {image.pool} and can be used.</p>}
          {!ready && !failed && (
            <div>
              <Button variant="secondary" isDanger size="sm" onClick={() => void cancel()}>
                Cancel upload
              </Button>
            </div>
          )}
          {upload?.fault && image.phase !== ImagePhase.UPLOADING && <FaultPanel fault={upload.fault} />}
        </>
      )}
    </Dialog>
  );
}
