// One disk of the create dialog: blank, from an image, or a free volume.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useFormContext } from "react-hook-form";
import type { Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { ImageSelect, PoolSelect, VolumeSelect } from "../../shell/object-select";
import { TextField } from "../../ui/field";
import { GIB } from "../../ui/quantity";
import type { Choice } from "../../ui/search-select";
import { imageNote, unlessDiskImage } from "../image/words";
import { poolNote, unlessPool } from "../pool/words";
import { unlessFree, volumeNote } from "../volume/words";
import type { VmInput } from "./vm-form";

interface Props {
  index: number;
  /** The only one there is: nothing needs to be chosen. */
  pool: Pool | undefined;
  onRemove: () => void;
}

const TITLES = { blank: "Blank disk", image: "Disk from image", volume: "Volume" } as const;

export function DiskFields({ index, pool, onRemove }: Props) {
  const form = useFormContext<VmInput>();
  const at = `disks.${index}` as const;
  const source = form.watch(`${at}.source`);
  const errors = form.formState.errors.disks?.[index];
  const title = `${TITLES[source]} ${index + 1}`;
  return (
    <div className="q-disk" role="group" aria-label={title}>
      <div className="q-disk__head">
        <strong>{title}</strong>
        <Button variant="link" size="sm" isInline onClick={onRemove} aria-label={`Remove ${title}`}>
          Remove
        </Button>
      </div>
      {source === "image" && <FromImage index={index} error={errors?.imageId?.message} />}
      {source === "volume" && <FromVolume index={index} error={errors?.volumeId?.message} />}
      {source !== "volume" && (
        <div className="q-row">
          {source === "blank" && <InPool index={index} only={pool} error={errors?.poolId?.message} />}
          <TextField label="Size in GiB" type="number" min={0} step="any" error={errors?.sizeGib?.message} {...form.register(`${at}.sizeGib`)} />
        </div>
      )}
    </div>
  );
}

interface FieldProps {
  index: number;
  error?: string;
}

function InPool({ index, only, error }: FieldProps & { only: Pool | undefined }) {
  const form = useFormContext<VmInput>();
  const [pool, setPool] = useState<Choice | undefined>(only);
  const choose = (chosen: Choice | undefined) => {
    setPool(chosen);
    form.setValue(`disks.${index}.poolId`, chosen?.id ?? "", { shouldValidate: form.formState.isSubmitted });
  };
  return <PoolSelect label="Pool" error={error} value={pool} note={poolNote} unless={unlessPool("create_volume")} onChange={choose} />;
}

function FromImage({ index, error }: FieldProps) {
  const form = useFormContext<VmInput>();
  const [value, setValue] = useState<Choice>();
  const choose = (chosen: Choice | undefined, image: Image | undefined) => {
    setValue(chosen);
    form.setValue(`disks.${index}.imageId`, image?.id ?? "", { shouldValidate: image !== undefined });
    if (!image) return;
    // A copy lies where its image lies, and is no smaller than it.
    form.setValue(`disks.${index}.poolId`, image.poolId);
    const needed = Number(image.virtualSizeBytes) / GIB;
    const sizeGib = Number(form.getValues(`disks.${index}.sizeGib`));
    if (!(sizeGib >= needed)) form.setValue(`disks.${index}.sizeGib`, String(Math.ceil(needed * 1000) / 1000));
  };
  return <ImageSelect label="Image" error={error} value={value} note={imageNote} unless={unlessDiskImage} onChange={choose} />;
}

function FromVolume({ index, error }: FieldProps) {
  const form = useFormContext<VmInput>();
  const [value, setValue] = useState<Choice>();
  const choose = (chosen: Choice | undefined) => {
    setValue(chosen);
    form.setValue(`disks.${index}.volumeId`, chosen?.id ?? "", { shouldValidate: chosen !== undefined });
  };
  return <VolumeSelect label="Volume" error={error} value={value} note={volumeNote} unless={unlessFree} onChange={choose} />;
}
