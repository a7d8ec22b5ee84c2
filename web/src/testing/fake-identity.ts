// The identity part of the vDC in memory: providers, directories, and how long a sign-in counts.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { FaultCode, type FaultDetailSchema } from "../api/gen/quantix/fault/v1/fault_pb";
import {
  IdentitySourceKind,
  IdentitySourceSchema,
  type CreateIdentitySourceRequest,
  type DeleteIdentitySourceRequest,
  type IdentitySource,
  type IdentitySourceWish,
  type TestIdentitySourceRequest,
  type TestIdentitySourceResponseSchema,
  type UpdateIdentitySourceRequest,
  type UpdateSignInSettingsRequest,
} from "../api/gen/quantix/identity/v1/identity_pb";
import { refusal } from "./refusal";

export function fakeProvider(title: string, part: MessageInitShape<typeof IdentitySourceSchema> = {}): IdentitySource {
  return create(IdentitySourceSchema, {
    id: `id-${title}`,
    title,
    enabled: true,
    hasSecret: true,
    createUsers: true,
    generation: 3n,
    config: { case: "oidc", value: { issuerUrl: "https://sso.example.org", clientId: "quantix", scopes: ["profile"], groupsClaim: "groups" } },
    changedAt: timestampFromMs(Date.now()),
    ...part,
  });
}

export class FakeIdentity {
  sources: IdentitySource[] = [];
  settings = { idleMinutes: 60, lifeMinutes: 720, generation: 1n };
  /** What a test answers. */
  answer: MessageInitShape<typeof TestIdentitySourceResponseSchema> = { facts: ["The provider answers."] };
  /** Why sign-ins at providers did not work, by id. */
  faults = new Map<string, MessageInitShape<typeof FaultDetailSchema>>();
  created: (IdentitySourceWish | undefined)[] = [];
  updated: UpdateIdentitySourceRequest[] = [];
  tested: TestIdentitySourceRequest[] = [];
  deleted: DeleteIdentitySourceRequest[] = [];
  saved: UpdateSignInSettingsRequest[] = [];
  #guard: <T>(answer: () => T) => T;

  constructor(guard: <T>(answer: () => T) => T) {
    this.#guard = guard;
  }

  #found(id: string): IdentitySource {
    const source = this.sources.find((s) => s.id === id);
    if (!source) throw refusal(Code.NotFound, { code: FaultCode.NOT_FOUND, message: "There is no such source.", remedy: "Look at the list." });
    return source;
  }

  #update(r: UpdateIdentitySourceRequest): IdentitySource {
    const source = this.#found(r.id);
    if (source.generation !== r.generation) {
      throw refusal(Code.Aborted, { code: FaultCode.CONFLICT, message: `${source.title} was changed since you looked at it.`, remedy: "Look at what it is now.", field: "generation" });
    }
    this.updated.push(r);
    const changed = create(IdentitySourceSchema, { ...source, title: r.source?.title ?? "", enabled: r.source?.enabled ?? false, generation: source.generation + 1n });
    this.sources = this.sources.map((s) => (s.id === r.id ? changed : s));
    return changed;
  }

  service() {
    return {
      listSignInWays: () => ({
        ways: this.sources
          .filter((s) => s.enabled)
          .map(({ id, title, config }) => ({ id, title, kind: config.case === "ldap" ? IdentitySourceKind.LDAP : IdentitySourceKind.OIDC })),
      }),
      getSignInFault: (r: { id: string }) => {
        const fault = this.faults.get(r.id);
        if (!fault) throw refusal(Code.NotFound, { code: FaultCode.NOT_FOUND, message: "It is no longer known.", remedy: "Try again." });
        return { fault };
      },
      listIdentitySources: () => this.#guard(() => ({ sources: this.sources, redirectUri: "https://vdc.example/api/v1/sign-in/oidc/callback" })),
      createIdentitySource: (r: CreateIdentitySourceRequest) =>
        this.#guard(() => {
          this.created.push(r.source);
          const source = fakeProvider(r.source?.title ?? "", { config: r.source?.config, hasSecret: r.source?.secret !== "" });
          this.sources = [...this.sources, source];
          return source;
        }),
      updateIdentitySource: (r: UpdateIdentitySourceRequest) => this.#guard(() => this.#update(r)),
      deleteIdentitySource: (r: DeleteIdentitySourceRequest) =>
        this.#guard(() => {
          this.deleted.push(r);
          this.sources = this.sources.filter((s) => s.id !== r.id);
          return {};
        }),
      testIdentitySource: (r: TestIdentitySourceRequest) => this.#guard(() => (this.tested.push(r), this.answer)),
      getSignInSettings: () => this.#guard(() => this.settings),
      updateSignInSettings: (r: UpdateSignInSettingsRequest) =>
        this.#guard(() => {
          this.saved.push(r);
          this.settings = { idleMinutes: r.idleMinutes, lifeMinutes: r.lifeMinutes, generation: this.settings.generation + 1n };
          return this.settings;
        }),
    };
  }
}
