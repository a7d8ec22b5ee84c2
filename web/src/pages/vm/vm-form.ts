// What the create dialog holds, its rules, and the request it becomes.
import { create } from "@bufbuild/protobuf";
import { z } from "../../ui/rules";
import { CreateVmRequestSchema, Firmware, NicKind, type CreateVmRequest } from "../../api/gen/quantix/vm/v1/vm_pb";
import { VolumeFormat } from "../../api/gen/quantix/volume/v1/volume_pb";
import { GIB } from "../../ui/quantity";
import { nameRule } from "../pool/pool-form";

export const diskRule = z
  .object({
    source: z.enum(["blank", "image", "volume"]),
    poolId: z.string(),
    sizeGib: z.coerce.number<string>(),
    imageId: z.string(),
    volumeId: z.string(),
  })
  .superRefine((d, ctx) => {
    const refuse = (path: string, message: string) => ctx.addIssue({ code: "custom", path: [path], message });
    if (d.source === "volume") {
      if (d.volumeId === "") refuse("volumeId", "Choose a volume.");
      return;
    }
    if (d.source === "image" && d.imageId === "") refuse("imageId", "Choose an image.");
    if (d.source === "blank" && d.poolId === "") refuse("poolId", "Choose a pool.");
    if (!(d.sizeGib > 0)) refuse("sizeGib", "Enter a size above 0.");
  });

export const vmRule = z.object({
  name: nameRule,
  vcpus: z.coerce.number<string>().int("Whole CPUs only.").min(1, "At least 1.").max(256, "256 at most."),
  memoryGib: z.coerce.number<string>().positive("Enter an amount above 0."),
  firmware: z.enum(["bios", "uefi"]),
  disks: z.array(diskRule),
  cdromImageId: z.string(),
  network: z.boolean(),
  hostId: z.string(),
  start: z.boolean(),
});
export type VmInput = z.input<typeof vmRule>;
export type VmValues = z.output<typeof vmRule>;
export type DiskInput = VmInput["disks"][number];

export const BLANK_DISK: DiskInput = { source: "blank", poolId: "", sizeGib: "20", imageId: "", volumeId: "" };

export const DEFAULTS: VmInput = {
  name: "",
  vcpus: "2",
  memoryGib: "2",
  firmware: "bios",
  disks: [],
  cdromImageId: "",
  network: true,
  hostId: "",
  start: true,
};

/** The request for what is on the form; also used to ask which hosts could take it. */
export function requestOf(v: VmValues): CreateVmRequest {
  return create(CreateVmRequestSchema, {
    name: v.name,
    hostId: v.hostId,
    vcpus: v.vcpus,
    memoryBytes: BigInt(Math.round(v.memoryGib * GIB)),
    firmware: v.firmware === "uefi" ? Firmware.UEFI : Firmware.BIOS,
    disks: v.disks.map((d) =>
      d.source === "volume"
        ? { volumeId: d.volumeId }
        : {
            poolId: d.poolId,
            sizeBytes: BigInt(Math.round(d.sizeGib * GIB)),
            imageId: d.source === "image" ? d.imageId : "",
            format: VolumeFormat.QCOW2,
          },
    ),
    cdromImageId: v.cdromImageId,
    nics: v.network ? [{ kind: NicKind.USER, mac: "" }] : [],
    start: v.start,
  });
}
