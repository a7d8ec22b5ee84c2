// What the create-pool dialog holds, its rules, and the spec it becomes. The vDC judges; this only saves a round trip.
import { create } from "@bufbuild/protobuf";
import { z } from "../../ui/rules";
import { NfsVersion, PoolSpecSchema, type Pool, type PoolSpec } from "../../api/gen/quantix/pool/v1/pool_pb";

export const NAME_HELP = "1 to 63 of a-z, 0-9 and -";
export const nameRule = z
  .string()
  .min(1, "A name is needed.")
  .max(63, "63 characters at most.")
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "Use a-z, 0-9 and -, starting and ending with a letter or digit.");

/** Where a local pool of that name stands when nobody says otherwise; the host makes our folder itself. */
export const placeOf = (name: string) => (name === "" ? "" : `/var/lib/quantix/pools/${name}`);

export const KINDS = [
  { value: "local", label: "Local directory", note: "A folder on one host." },
  { value: "nfs", label: "NFS", note: "An export of a server, mounted by each host." },
  { value: "ceph", label: "Ceph RBD", note: "A pool of a Ceph cluster; QEMU speaks to it directly." },
  { value: "iscsi", label: "iSCSI", note: "A LUN with an LVM volume group; each volume is open on one host at a time." },
] as const;
export type Kind = (typeof KINDS)[number]["value"];

export const NFS_VERSIONS = [
  { value: "4.2", label: "4.2 (keeps holes)", wire: NfsVersion.NFS_VERSION_4_2 },
  { value: "4.1", label: "4.1 (usual)", wire: NfsVersion.NFS_VERSION_4_1 },
  { value: "4.0", label: "4.0", wire: NfsVersion.NFS_VERSION_4 },
  { value: "3", label: "3", wire: NfsVersion.NFS_VERSION_3 },
] as const;

const fields = z.object({
  name: nameRule,
  kind: z.enum(["local", "nfs", "ceph", "iscsi"]),
  hostIds: z.array(z.string()),
  path: z.string().trim(),
  server: z.string().trim(),
  exportPath: z.string().trim(),
  nfsVersion: z.enum(["3", "4.0", "4.1", "4.2"]),
  options: z.string().trim(),
  mountPath: z.string().trim(),
  monitors: z.string().trim(),
  cephPool: z.string().trim(),
  cephUser: z.string().trim(),
  cephKey: z.string().trim(),
  portal: z.string().trim(),
  target: z.string().trim(),
  lun: z.coerce.number<string>().int("Whole numbers only.").min(0, "0 or more.").max(16383, "16383 at most."),
  chap: z.boolean(),
  chapUser: z.string().trim(),
  chapPassword: z.string(),
  mutual: z.boolean(),
  mutualUser: z.string().trim(),
  mutualPassword: z.string(),
  volumeGroup: z.string().trim(),
  createVolumeGroup: z.boolean(),
});

/** Secrets of a pool that is there may be left out: they stay as they are. */
function judge(v: z.output<typeof fields>, ctx: z.core.$RefinementCtx, isNew: boolean) {
  const need = (path: keyof typeof v, message: string) => {
    if (v[path] === "") ctx.addIssue({ code: "custom", path: [path], message });
  };
  const absolute = (path: "path" | "exportPath", example: string) => {
    if (!/^\/./.test(v[path])) ctx.addIssue({ code: "custom", path: [path], message: `Enter an absolute path, such as ${example}.` });
  };
  if (isNew && v.hostIds.length === 0) ctx.addIssue({ code: "custom", path: ["hostIds"], message: "Choose at least one host." });
  if (v.kind === "local") absolute("path", "/srv/quantix");
  if (v.kind === "nfs") {
    need("server", "Enter the server's name or address.");
    if (v.exportPath !== "/") absolute("exportPath", "/srv/vms");
  }
  if (v.kind === "ceph") {
    need("monitors", "Enter at least one monitor.");
    need("cephPool", "Enter the Ceph pool.");
    need("cephUser", "Enter the CephX user.");
    if (isNew) need("cephKey", "Enter the user's key.");
  }
  if (v.kind === "iscsi") {
    need("portal", "Enter the portal's address.");
    need("target", "Enter the target's name.");
    need("volumeGroup", "Enter the volume group.");
    if (v.chap) {
      need("chapUser", "Enter the CHAP user.");
      if (isNew) need("chapPassword", "Enter the CHAP password.");
    }
    if (v.chap && v.mutual) {
      need("mutualUser", "Enter the target's CHAP user.");
      if (isNew) need("mutualPassword", "Enter the target's CHAP password.");
    }
  }
}

export const poolRule = fields.superRefine((v, ctx) => judge(v, ctx, true));
export const editRule = fields.superRefine((v, ctx) => judge(v, ctx, false));
export type PoolInput = z.input<typeof poolRule>;
export type PoolValues = z.output<typeof poolRule>;

export const POOL_DEFAULTS: PoolInput = {
  name: "",
  kind: "local",
  hostIds: [],
  path: "",
  server: "",
  exportPath: "",
  nfsVersion: "4.1",
  options: "",
  mountPath: "",
  monitors: "",
  cephPool: "",
  cephUser: "",
  cephKey: "",
  portal: "",
  target: "",
  lun: "0",
  chap: false,
  chapUser: "",
  chapPassword: "",
  mutual: false,
  mutualUser: "",
  mutualPassword: "",
  volumeGroup: "",
  createVolumeGroup: false,
};

/** The spec for what is on the form. */
export function specOf(v: PoolValues): PoolSpec {
  switch (v.kind) {
    case "local":
      return create(PoolSpecSchema, { backend: { case: "local", value: { path: v.path } } });
    case "nfs":
      return create(PoolSpecSchema, {
        backend: {
          case: "nfs",
          value: {
            server: v.server,
            export: v.exportPath,
            version: NFS_VERSIONS.find((n) => n.value === v.nfsVersion)?.wire,
            options: v.options,
            mountPath: v.mountPath,
          },
        },
      });
    case "ceph":
      return create(PoolSpecSchema, {
        backend: {
          case: "ceph",
          value: { monitors: v.monitors.split(/[\s,]+/).filter(Boolean), pool: v.cephPool, user: v.cephUser.replace(/^client\./, ""), key: v.cephKey },
        },
      });
    case "iscsi":
      return create(PoolSpecSchema, {
        backend: {
          case: "iscsi",
          value: {
            portal: v.portal,
            target: v.target,
            lun: v.lun,
            chap: v.chap ? { user: v.chapUser, password: v.chapPassword } : undefined,
            mutualChap: v.chap && v.mutual ? { user: v.mutualUser, password: v.mutualPassword } : undefined,
            volumeGroup: v.volumeGroup,
            createVolumeGroup: v.createVolumeGroup,
          },
        },
      });
  }
}

/** What is on the form for a pool that is there. */
export function inputOf(pool: Pool): PoolInput {
  const backend = pool.spec?.backend;
  const base: PoolInput = { ...POOL_DEFAULTS, name: pool.name, hostIds: pool.hostStatuses.map((s) => s.hostId) };
  switch (backend?.case) {
    case "nfs": {
      const { server, options, mountPath, version } = backend.value;
      const nfsVersion = NFS_VERSIONS.find((n) => n.wire === version)?.value ?? POOL_DEFAULTS.nfsVersion;
      return { ...base, kind: "nfs", server, exportPath: backend.value.export, nfsVersion, options, mountPath };
    }
    case "ceph": {
      const { monitors, pool: cephPool, user } = backend.value;
      return { ...base, kind: "ceph", monitors: monitors.join(", "), cephPool, cephUser: user };
    }
    case "iscsi": {
      const { portal, target, lun, chap, mutualChap, volumeGroup, createVolumeGroup } = backend.value;
      const known = { chap: chap !== undefined, chapUser: chap?.user ?? "", mutual: mutualChap !== undefined, mutualUser: mutualChap?.user ?? "" };
      return { ...base, kind: "iscsi", portal, target, lun: String(lun), volumeGroup, createVolumeGroup, ...known };
    }
    case "local":
      return { ...base, kind: "local", path: backend.value.path };
    case undefined:
      return base;
  }
}
