// Administration, Sign-in: limits of sessions, providers and directories, through the whole app on a fake vDC.
import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { expectAccessible } from "../../testing/accessible";
import { fakeProvider } from "../../testing/fake-identity";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
// Fetched here, not while a test waits.
import "./identity-page";
import "./source-dialog";
import "./source-questions";

const withSources = (...titles: string[]): FakeVdc => {
  const vdc = signIn(new FakeVdc());
  vdc.identity.sources = titles.map((title) => fakeProvider(title, { people: 3 }));
  return vdc;
};

describe("providers and directories", () => {
  it("says what this is while there is none, and adds a provider that was tested first", async () => {
    const vdc = withSources();
    const { user, container } = renderApp(vdc, "/sign-in");
    expect(await screen.findByRole("heading", { name: "No provider or directory yet" })).toBeTruthy();
    await expectAccessible(container);
    await user.click(screen.getAllByRole("button", { name: "Add provider or directory" })[1]!);
    const dialog = await screen.findByRole("dialog", { name: "Add provider or directory" });
    const of = within(dialog);
    expect(of.getByText("https://vdc.example/api/v1/sign-in/oidc/callback")).toBeTruthy();
    await user.click(of.getByRole("button", { name: "Add" }));
    expect(await of.findByText("A title is needed.")).toBeTruthy();
    await user.type(of.getByLabelText("Title"), "Example SSO");
    await user.type(of.getByLabelText("Issuer"), "https://sso.example.org/realms/main");
    await user.type(of.getByLabelText("Client ID"), "quantix");
    await user.type(of.getByLabelText("Client secret"), "s3cret");
    vdc.identity.answer = { facts: ["The provider answers."], fault: { code: FaultCode.IDENTITY_SOURCE_REFUSED, message: "The provider does not know this client.", cause: "invalid_client", remedy: "Compare client ID and secret." } };
    await user.click(of.getByRole("button", { name: "Test" }));
    const panel = await of.findByRole("alert", { name: "Error IDENTITY_SOURCE_REFUSED" });
    expect(panel.textContent).toContain("invalid_client");
    expect(panel.textContent).toContain("Compare client ID and secret.");
    expect(of.getByText("The provider answers.")).toBeTruthy();
    await user.click(of.getByRole("button", { name: "Add rule" }));
    await user.type(of.getByLabelText("Group of rule 1"), "admins");
    await user.selectOptions(of.getByLabelText("Role of rule 1"), "admin");
    await expectAccessible(document.body);
    await user.click(of.getByRole("button", { name: "Add" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(await screen.findByRole("row", { name: /^Example SSO OpenID Connect/ })).toBeTruthy();
    const [wish] = vdc.identity.created;
    expect([wish?.title, wish?.secret, wish?.createUsers, wish?.enabled]).toEqual(["Example SSO", "s3cret", true, true]);
    expect(wish?.config).toMatchObject({ case: "oidc", value: { issuerUrl: "https://sso.example.org/realms/main", clientId: "quantix", scopes: ["profile", "email"], groupsClaim: "groups" } });
    expect(wish?.rules.map((r) => [r.group, r.role])).toEqual([["admins", "admin"]]);
  });

  it("fills in what a kind of directory needs, and says nothing to one without TLS", async () => {
    const vdc = withSources();
    const { user } = renderApp(vdc, "/sign-in?new=true");
    const of = within(await screen.findByRole("dialog"));
    await user.selectOptions(of.getByLabelText("Kind"), "ldap");
    await user.type(of.getByLabelText("Title"), "Directory");
    await user.selectOptions(of.getByLabelText("Kind of directory"), "ad");
    expect((of.getByLabelText("Attribute that never changes") as HTMLInputElement).value).toBe("objectGUID");
    await user.type(of.getByLabelText("Addresses"), "ldap://dc1.example.org");
    await user.type(of.getByLabelText("People are beneath"), "dc=example,dc=org");
    await user.click(of.getByRole("button", { name: "Add" }));
    expect(await of.findByText("Nothing is said without TLS: use ldaps://, or turn StartTLS on.")).toBeTruthy();
    await user.click(of.getByRole("checkbox", { name: "StartTLS" }));
    await user.click(of.getByRole("button", { name: "Add" }));
    await waitFor(() => expect(vdc.identity.created.length).toBe(1));
    expect(vdc.identity.created[0]?.config).toMatchObject({ case: "ldap", value: { urls: ["ldap://dc1.example.org"], startTls: true, nameAttribute: "sAMAccountName", userFilter: expect.stringContaining("sAMAccountName={name}") } });
  });

  it("keeps the secret unless another is typed, and asks for it again when the address is another one", async () => {
    const vdc = withSources("SSO");
    const { user } = renderApp(vdc, "/sign-in");
    await user.click(await screen.findByRole("button", { name: "Change SSO" }));
    const of = within(await screen.findByRole("dialog", { name: 'Change "SSO"' }));
    expect(of.getByLabelText("Client secret").getAttribute("placeholder")).toBe("kept; type to replace");
    expect(of.queryByLabelText("Kind")).toBeNull();
    await user.type(of.getByLabelText("Issuer"), "/other");
    expect(await of.findByText(/enter the secret again/)).toBeTruthy();
    await user.clear(of.getByLabelText("Issuer"));
    await user.type(of.getByLabelText("Issuer"), "https://sso.example.org");
    await user.clear(of.getByLabelText("Title"));
    await user.type(of.getByLabelText("Title"), "Main SSO");
    await user.click(of.getByRole("button", { name: "Save changes" }));
    expect(await screen.findByRole("row", { name: /^Main SSO/ })).toBeTruthy();
    expect(vdc.identity.updated.map((u) => [u.generation, u.source?.secret, u.source?.title])).toEqual([[3n, "", "Main SSO"]]);
  });

  it("tests what is saved and keeps the answer in view", async () => {
    const vdc = withSources("SSO");
    const { user } = renderApp(vdc, "/sign-in");
    await user.click(await screen.findByRole("button", { name: "Test SSO" }));
    const of = within(await screen.findByRole("dialog", { name: 'Test of "SSO"' }));
    expect(await of.findByText("All is well: people can sign in with it.")).toBeTruthy();
    await user.click(of.getAllByRole("button", { name: "Close" }).at(-1)!);
    expect(within(await screen.findByRole("row", { name: /^SSO/ })).getByText("All is well")).toBeTruthy();
    expect(vdc.identity.tested.map((t) => [t.id, t.source])).toEqual([["id-SSO", undefined]]);
  });

  it("says what follows before it turns one off or deletes it", async () => {
    const vdc = withSources("SSO");
    const { user } = renderApp(vdc, "/sign-in");
    await user.click(await screen.findByRole("button", { name: "Turn off SSO" }));
    const ask = within(await screen.findByRole("dialog", { name: 'Turn off "SSO"?' }));
    expect(ask.getByText(/^3 people come from it\. Their sessions end at once/)).toBeTruthy();
    await user.click(ask.getByRole("button", { name: "Turn off" }));
    expect(await screen.findByRole("button", { name: "Turn on SSO" })).toBeTruthy();
    expect(vdc.identity.updated[0]?.source).toMatchObject({ enabled: false, secret: "", title: "SSO" });
    await user.click(screen.getByRole("button", { name: "Delete SSO" }));
    const gone = within(await screen.findByRole("dialog", { name: 'Delete "SSO"?' }));
    const button = gone.getByRole("button", { name: "Delete it and its 3 people" }) as HTMLButtonElement;
    expect(button.disabled).toBe(true);
    await user.type(gone.getByRole("textbox"), "SSO");
    await user.click(button);
    expect(await screen.findByRole("heading", { name: "No provider or directory yet" })).toBeTruthy();
    expect(vdc.identity.deleted.map((d) => [d.id, d.deletePeople])).toEqual([["id-SSO", true]]);
  });

  it("shows all to who may only look, and why they may not change it", async () => {
    const vdc = withSources("SSO");
    vdc.rights.permissions = ["people.view"];
    const { user } = renderApp(vdc, "/sign-in");
    const button = await screen.findByRole("button", { name: "Delete SSO" });
    expect(button.getAttribute("aria-disabled")).toBe("true");
    await user.hover(button);
    expect((await screen.findByRole("tooltip")).textContent).toBe("You need people.manage on everything. Who manages people can give it.");
    expect((await screen.findByLabelText<HTMLInputElement>("Ends when it was not used for")).disabled).toBe(true);
  });
});

describe("session limits", () => {
  it("are shown in plain words, checked, and saved", async () => {
    const vdc = withSources();
    const { user } = renderApp(vdc, "/sign-in");
    const idle = await screen.findByLabelText<HTMLInputElement>("Ends when it was not used for");
    expect(idle.value).toBe("1");
    expect(screen.getByRole("button", { name: "Save limits" }).getAttribute("aria-disabled")).toBe("true");
    await user.clear(idle);
    await user.type(idle, "13");
    expect(await screen.findByText("Not longer than the session itself.")).toBeTruthy();
    await user.clear(idle);
    await user.type(idle, "2");
    await user.click(screen.getByRole("button", { name: "Save limits" }));
    await waitFor(() => expect(vdc.identity.saved.map((s) => [s.generation, s.idleMinutes, s.lifeMinutes])).toEqual([[1n, 120, 720]]));
  });
});

describe("the sign-in page", () => {
  it("offers providers by title, and says whose passwords it takes", async () => {
    const vdc = new FakeVdc();
    vdc.identity.sources = [fakeProvider("Example SSO"), fakeProvider("Directory", { config: { case: "ldap", value: {} } }), fakeProvider("Off", { enabled: false })];
    const { container } = renderApp(vdc, "/login?next=%2Fvms");
    const link = await screen.findByRole("link", { name: "Sign in with Example SSO" });
    expect(link.getAttribute("href")).toBe("/api/v1/sign-in/oidc/id-Example%20SSO?next=%2Fvms");
    expect(screen.getByText("Name and password of Directory work here, too.")).toBeTruthy();
    expect(screen.queryByText(/with Off/)).toBeNull();
    await expectAccessible(container);
  });

  it("shows in full why a sign-in at a provider did not work, and that it forgot", async () => {
    const vdc = new FakeVdc();
    vdc.identity.faults.set("f1", { code: FaultCode.PERSON_UNKNOWN, message: "Nobody here is called eva.", cause: "the source may not make people", remedy: "Ask an administrator." });
    const view = renderApp(vdc, "/login?fault=f1");
    const panel = await screen.findByRole("alert", { name: "Error PERSON_UNKNOWN" });
    expect(panel.textContent).toContain("the source may not make people");
    expect(panel.textContent).toContain("Ask an administrator.");
    view.unmount();
    renderApp(vdc, "/login?fault=f2");
    expect((await screen.findByRole("alert", { name: "Error NOT_FOUND" })).textContent).toContain("Try again.");
  });
});
