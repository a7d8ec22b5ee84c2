// What the dialog of an identity source holds, its rules, what usual directories fill in, and the wish it becomes.
import { create } from "@bufbuild/protobuf";
import { IdentitySourceWishSchema, type IdentitySource, type IdentitySourceWish, type LdapConfig, type OidcConfig } from "../../api/gen/quantix/identity/v1/identity_pb";
import { z } from "../../ui/rules";

/** What the directory's type says, so that nobody needs to know filters by heart. */
export interface Template {
  id: string;
  label: string;
  note: string;
  fields: Pick<SourceInput, "userFilter" | "idAttribute" | "nameAttribute" | "groupFilter" | "groupNameAttribute">;
}

const POSIX = { userFilter: "(&(objectClass=inetOrgPerson)(uid={name}))", idAttribute: "entryUUID", nameAttribute: "uid", groupNameAttribute: "cn" };

export const TEMPLATES: readonly Template[] = [
  { id: "openldap", label: "OpenLDAP", note: "Groups name their members (groupOfNames).", fields: { ...POSIX, groupFilter: "(&(objectClass=groupOfNames)(member={dn}))" } },
  { id: "posix", label: "OpenLDAP with POSIX groups", note: "Groups list user names (posixGroup).", fields: { ...POSIX, groupFilter: "(&(objectClass=posixGroup)(memberUid={name}))" } },
  {
    id: "ad",
    label: "Active Directory",
    note: "Groups within groups count, too.",
    fields: {
      userFilter: "(&(objectCategory=person)(objectClass=user)(sAMAccountName={name}))",
      idAttribute: "objectGUID",
      nameAttribute: "sAMAccountName",
      groupFilter: "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))",
      groupNameAttribute: "cn",
    },
  },
];

/** The template whose fields these are; undefined once somebody changed one. */
export function templateOf(values: Template["fields"]): Template | undefined {
  const keys = ["userFilter", "idAttribute", "nameAttribute", "groupFilter", "groupNameAttribute"] as const;
  return TEMPLATES.find((t) => keys.every((key) => t.fields[key] === values[key]));
}

const trimmed = z.string().trim();
export const sourceRule = z
  .object({
    kind: z.enum(["oidc", "ldap"]),
    title: trimmed.min(1, "A title is needed.").max(128, "128 characters at most."),
    enabled: z.boolean(),
    createUsers: z.boolean(),
    defaultRole: z.string(),
    rules: z.array(z.object({ group: trimmed.min(1, "Name the group."), role: z.string().min(1, "Choose a role.") })),
    secret: z.string(),
    caPem: z.string(),
    issuerUrl: trimmed,
    clientId: trimmed,
    scopes: trimmed,
    nameClaim: trimmed,
    groupsClaim: trimmed,
    urls: trimmed,
    startTls: z.boolean(),
    bindDn: trimmed,
    userBase: trimmed,
    userFilter: trimmed,
    idAttribute: trimmed,
    nameAttribute: trimmed,
    groupBase: trimmed,
    groupFilter: trimmed,
    groupNameAttribute: trimmed,
  })
  .superRefine((v, ctx) => {
    const refuse = (path: string, message: string) => ctx.addIssue({ code: "custom", path: [path], message });
    const need = (path: "clientId" | "userBase" | "idAttribute" | "nameAttribute", message: string) => {
      if (v[path] === "") refuse(path, message);
    };
    if (v.kind === "oidc") {
      if (!/^https?:\/\/\S+$/.test(v.issuerUrl)) refuse("issuerUrl", "Enter the address as the provider writes it, with https://.");
      need("clientId", "Enter what the provider calls this vDC.");
      return;
    }
    const urls = words(v.urls);
    if (urls.length === 0 || !urls.every((url) => /^ldaps?:\/\/\S+$/.test(url))) refuse("urls", "Enter ldaps://… or ldap://…, one in each line.");
    else if (!v.startTls && urls.some((url) => url.startsWith("ldap://"))) refuse("urls", "Nothing is said without TLS: use ldaps://, or turn StartTLS on.");
    need("userBase", "Enter beneath which entry people are.");
    if (!v.userFilter.includes("{name}")) refuse("userFilter", "It must hold {name}: what the person typed.");
    need("idAttribute", "Enter an attribute that never changes.");
    need("nameAttribute", "Enter the attribute that is the person's name.");
    if (v.groupBase !== "" && !/\{(dn|name)\}/.test(v.groupFilter)) refuse("groupFilter", "It must hold {dn} or {name}.");
  });
export type SourceInput = z.input<typeof sourceRule>;
export type SourceValues = z.output<typeof sourceRule>;

export const words = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== "");

export const NEW_SOURCE: SourceInput = {
  kind: "oidc",
  title: "",
  enabled: true,
  createUsers: true,
  defaultRole: "",
  rules: [],
  secret: "",
  caPem: "",
  issuerUrl: "",
  clientId: "",
  scopes: "profile email",
  nameClaim: "",
  groupsClaim: "groups",
  urls: "",
  startTls: false,
  bindDn: "",
  userBase: "",
  groupBase: "",
  ...(TEMPLATES[0] as Template).fields,
};

export function inputOf(source: IdentitySource): SourceInput {
  const { title, enabled, createUsers, defaultRole, config } = source;
  const common = { ...NEW_SOURCE, title, enabled, createUsers, defaultRole, rules: source.rules.map(({ group, role }) => ({ group, role })) };
  if (config.case === "ldap") return { ...common, kind: "ldap", ...ldapInput(config.value) };
  return config.case === "oidc" ? { ...common, kind: "oidc", ...oidcInput(config.value) } : common;
}

function oidcInput({ issuerUrl, clientId, scopes, nameClaim, groupsClaim, caPem }: OidcConfig) {
  return { issuerUrl, clientId, scopes: scopes.join(" "), nameClaim, groupsClaim, caPem };
}

function ldapInput(ldap: LdapConfig) {
  const { startTls, caPem, bindDn, userBase, userFilter, idAttribute, nameAttribute, groupBase, groupFilter, groupNameAttribute } = ldap;
  return { urls: ldap.urls.join("\n"), startTls, caPem, bindDn, userBase, userFilter, idAttribute, nameAttribute, groupBase, groupFilter, groupNameAttribute };
}

export function wishOf(v: SourceValues): IdentitySourceWish {
  const { title, enabled, createUsers, defaultRole, rules, secret, caPem } = v;
  const config =
    v.kind === "oidc"
      ? { case: "oidc" as const, value: { issuerUrl: v.issuerUrl, clientId: v.clientId, scopes: words(v.scopes), nameClaim: v.nameClaim, groupsClaim: v.groupsClaim, caPem } }
      : { case: "ldap" as const, value: ldapOf(v) };
  return create(IdentitySourceWishSchema, { title, enabled, createUsers, defaultRole, rules, secret, config });
}

function ldapOf(v: SourceValues) {
  const { startTls, caPem, bindDn, userBase, userFilter, idAttribute, nameAttribute, groupBase, groupFilter, groupNameAttribute } = v;
  return { urls: words(v.urls), startTls, caPem, bindDn, userBase, userFilter, idAttribute, nameAttribute, groupBase, groupFilter, groupNameAttribute };
}

/** The same as it is, but for being on or off. The secret that is kept stays. */
export function switched(source: IdentitySource, enabled: boolean): IdentitySourceWish {
  const { title, createUsers, defaultRole, rules, config } = source;
  return create(IdentitySourceWishSchema, { title, enabled, createUsers, defaultRole, rules, config });
}

/** A secret goes nowhere its owner did not send it: at another address it must be entered again. */
export function isMoved(source: IdentitySource, v: Pick<SourceInput, "issuerUrl" | "urls">): boolean {
  const { config } = source;
  if (config.case === "oidc") return config.value.issuerUrl !== v.issuerUrl.trim();
  return config.case === "ldap" && config.value.urls.join(" ") !== words(v.urls).join(" ");
}
