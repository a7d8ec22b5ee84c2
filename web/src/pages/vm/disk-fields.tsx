// One disk of the create dialog: blank, from an image, or a free volume.
import { Button } from "@patternfly/react-core";
import { Controller, useFormContext } from "react-hook-form";
import { ImageFormat, ImagePhase, type Image } from "../../api/gen/quantix/image/v1/image_pb";
import type { Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { VolumePhase } from "../../api/gen/quantix/volume/v1/volume_pb";
import { useVolumes } from "../../api/lists";
import { SelectField, TextField } from "../../ui/field";
import { formatBytes, GIB } from "../../ui/quantity";
import { poolOption } from "../pool/words";
import type { VmInput } from "./vm-form";

interface Props {
  index: number;
  pools: Pool[] | undefined;
  images: Image[] | undefined;
  onRemove: () => void;
}

const TITLES = { blank: "Blank disk", image: "Disk from image", volume: "Volume" } as const;

export function DiskFields({ index, pools, images, onRemove }: Props) {
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
      {source === "image" && <FromImage index={index} images={images} error={errors?.imageId?.message} />}
      {source === "volume" && <FromVolume index={index} error={errors?.volumeId?.message} />}
      <div className="q-row">
        {source === "blank" && (
          <Controller
            control={form.control}
            name={`${at}.poolId`}
            render={({ field }) => (
              <SelectField
                label="Pool"
                error={errors?.poolId?.message}
                value={field.value}
                onChange={field.onChange}
                options={[
                  { value: "", label: pools?.length === 0 ? "No pool yet" : "Choose a pool", disabled: true },
                  ...(pools ?? []).map((p) => poolOption(p, "create_volume")),
                ]}
              />
            )}
          />
        )}
        {source !== "volume" && <TextField label="Size in GiB" type="number" min={0} step="any" error={errors?.sizeGib?.message} {...form.register(`${at}.sizeGib`)} />}
      </div>
    </div>
  );
}

function FromImage({ index, images, error }: { index: number; images: Image[] | undefined; error?: string }) {
  const form = useFormContext<VmInput>();
  const usable = images?.filter((i) => i.phase === ImagePhase.READY && i.format !== ImageFormat.ISO) ?? [];
  const choose = (id: string) => {
    const image = usable.find((i) => i.id === id);
    if (!image) return;
    // A copy lies where its image lies, and is no smaller than it.
    form.setValue(`disks.${index}.imageId`, id, { shouldValidate: true });
    form.setValue(`disks.${index}.poolId`, image.poolId);
    const needed = Number(image.virtualSizeBytes) / GIB;
    const sizeGib = Number(form.getValues(`disks.${index}.sizeGib`));
    if (!(sizeGib >= needed)) form.setValue(`disks.${index}.sizeGib`, String(Math.ceil(needed * 1000) / 1000));
  };
  return (
    <SelectField
      label="Image"
      error={error}
      help={usable.length === 0 ? "No disk image is ready. ISOs go into the drive below." : undefined}
      value={form.watch(`disks.${index}.imageId`)}
      onChange={choose}
      options={[
        { value: "", label: "Choose an image", disabled: true },
        ...usable.map((i) => ({ value: i.id, label: `${i.name} (${formatBytes(i.virtualSizeBytes)}, pool ${i.pool})` })),
      ]}
    />
  );
}

function FromVolume({ index, error }: { index: number; error?: string }) {
  const form = useFormContext<VmInput>();
  const volumes = useVolumes().rows;
  const free = volumes?.filter((v) => v.vmId === "" && v.phase === VolumePhase.READY) ?? [];
  return (
    <Controller
      control={form.control}
      name={`disks.${index}.volumeId`}
      render={({ field }) => (
        <SelectField
          label="Volume"
          error={error}
          help={volumes && free.length === 0 ? "No volume is free." : undefined}
          value={field.value}
          onChange={field.onChange}
          options={[
            { value: "", label: "Choose a volume", disabled: true },
            ...free.map((v) => ({ value: v.id, label: `${v.name} (${formatBytes(v.sizeBytes)}, pool ${v.pool})` })),
          ]}
        />
      )}
    />
  );
}
