// A service that speaks gRPC with nowserving by the .proto alone:
//
//   node client.js <messages folder> <address> <CA file> <API key> <queue>
//
// The queue is open and empty, and the key is of an integration user. It ends
// with code 0, and the ids of the tickets that it has made, if all is as promised.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

const [folder, address, ca, key, queue] = process.argv.slice(2);
const api = grpc.loadPackageDefinition(
  loadSync("nowserving/v1/queues.proto", { includeDirs: [folder], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }),
).nowserving.v1;
const errors = protobuf.loadSync(new URL("errors.proto", import.meta.url).pathname);

const connect = () => new api.Queues(address, grpc.credentials.createSsl(readFileSync(ca)));
let client = connect();
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);

// call makes one call, whose answer it promises.
const call = (method, request, as = metadata) =>
  new Promise((resolve, reject) => {
    const deadline = Date.now() + 60_000;
    client[method]({ queue, ...request }, as, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

// refused promises the status and the reason of a call that must be refused.
const refused = async (method, request, as) => {
  const error = await call(method, request, as).then(
    () => assert.fail(`${method} was not refused`),
    (error) => error,
  );
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const status = errors.lookupType("google.rpc.Status").decode(bytes);
  const info = status.details.find((detail) => detail.type_url.endsWith("/google.rpc.ErrorInfo"));
  const { domain, reason } = errors.lookupType("google.rpc.ErrorInfo").decode(info.value);
  assert.equal(domain, "nowserving");
  return `${grpc.status[error.code]} ${reason}`;
};

// watch follows the queue, as an iterator of what comes.
const watch = async (request) => {
  const stream = client.Watch({ queue, ...request }, metadata);
  const frames = stream[Symbol.asyncIterator]();
  return { stream, next: async () => (await frames.next()).value };
};

assert.equal(await refused("GetQueue", {}, new grpc.Metadata()), "UNAUTHENTICATED unauthenticated");
assert.equal(await refused("GetQueue", { queue: "nobodys" }), "NOT_FOUND queue_not_found");
assert.equal(await refused("Enqueue", { priority: 10 }), "INVALID_ARGUMENT invalid");
assert.equal(await refused("CallNext", { desk: "1" }), "PERMISSION_DENIED forbidden");

const first = await watch({});
const { snapshot } = await first.next();
assert.deepEqual([snapshot.queue.waiting, snapshot.first.waiting, snapshot.first.more], [0, [], false]);

const order = {
  idempotency_key: "visit-1", service: "parcels", priority: 3, customer: { name: "Ada" }, payload: '{"documents": 2}',
};
const made = await call("Enqueue", order);
const again = await call("Enqueue", order);
assert.deepEqual([made.replayed, again.replayed, again.ticket], [false, true, made.ticket]);
assert.equal(await refused("Enqueue", { ...order, priority: 4 }), "INVALID_ARGUMENT idempotency_key_reused");
assert.deepEqual(
  [made.ticket.state, made.ticket.source, made.ticket.position, made.ticket.customer.name, made.ticket.payload],
  ["TICKET_STATE_WAITING", "SOURCE_GRPC", 1, "Ada", '{"documents": 2}'],
);

const { event } = await first.next();
assert.deepEqual([event.kind, event.version, event.ticket.id], ["EVENT_KIND_TICKET_ENQUEUED", snapshot.queue.version + 1, made.ticket.id]);

// The line is cut; what happens meanwhile comes when the client is back.
client.close();
first.stream.on("error", () => {});
first.stream.cancel();
client = connect();
const missed = [await call("Enqueue", {}), await call("Enqueue", { service: "letters" })];
const second = await watch({ since: event.version, epoch: snapshot.epoch });
assert.deepEqual((await second.next()).resumed, { version: event.version, epoch: snapshot.epoch });
for (const { ticket, version } of missed) {
  const { event } = await second.next();
  assert.deepEqual([event.version, event.ticket.id], [version, ticket.id]);
}
second.stream.on("error", () => {});
second.stream.cancel();

const list = await call("ListTickets", { limit: 2 });
const rest = await call("ListTickets", { limit: 2, after: list.next });
const ids = [...list.tickets, ...rest.tickets].map(({ id }) => id);
assert.deepEqual(ids, [made.ticket.id, ...missed.map(({ ticket }) => ticket.id)]);
assert.equal(rest.next, "");

process.stdout.write(JSON.stringify(ids));
client.close();
