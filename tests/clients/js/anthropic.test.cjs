// The official @anthropic-ai/sdk package for JavaScript; run by tests/clients/test_javascript.py.
const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { test } = require("node:test");

const packages = createRequire(process.env.CLIENTS_JS + "/");
const Anthropic = packages("@anthropic-ai/sdk");
const { jsonSchemaOutputFormat } = packages("@anthropic-ai/sdk/helpers/json-schema");

const { model, script } = JSON.parse(process.env.CASE);
const client = new Anthropic({ baseURL: process.env.CORTEX_URL, apiKey: "none", maxRetries: 0 });
const said = (content) => [{ role: "user", content }];
const request = (text) => ({ model, max_tokens: 4096, messages: said(text) });
const tools = [
  {
    name: "get_weather",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

test("a message and its stream say the same", async () => {
  const whole = await client.messages.create(request("Hi"));
  const stream = client.messages.stream(request("Hi"));
  let joined = "";
  stream.on("text", (delta) => (joined += delta));
  const final = await stream.finalMessage();
  assert.equal(whole.content[0].text, script.greeting);
  assert.equal(joined, script.greeting);
  assert.deepEqual(final.content, whole.content);
  assert.equal(final.stop_reason, "end_turn");
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test("tools round trip, streamed and whole", async () => {
  const question = said("What is the weather in Paris?");
  const whole = await client.messages.create({ model, max_tokens: 4096, messages: question, tools });
  const streamed = await client.messages
    .stream({ model, max_tokens: 4096, messages: question, tools })
    .finalMessage();
  for (const asked of [whole, streamed]) {
    const use = asked.content.find((block) => block.type === "tool_use");
    assert.equal(asked.stop_reason, "tool_use");
    assert.deepEqual(use.input, script.weather);
    const result = { type: "tool_result", tool_use_id: use.id, content: "21" };
    const last = await client.messages.create({
      model,
      max_tokens: 4096,
      messages: [...question, { role: "assistant", content: asked.content }, ...said([result])],
      tools,
    });
    assert.equal(last.content[0].text, script.report);
  }
});

test("parse gives the asked object", async () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer" } },
    required: ["name", "age"],
    additionalProperties: false,
  };
  const answer = await client.messages.parse({
    ...request("Ada, as JSON"),
    output_config: { format: jsonSchemaOutputFormat(schema) },
  });
  assert.deepEqual(answer.parsed_output, script.person);
});

test("tokens are counted", async () => {
  const counted = await client.messages.countTokens({ model, messages: said("Hi") });
  const { usage } = await client.messages.create(request("Hi"));
  assert.equal(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});

test("errors are the SDK's own", async () => {
  await assert.rejects(
    client.messages.create({ ...request("Hi"), model: "nobody" }),
    (error) => error instanceof Anthropic.NotFoundError && !!error.requestID,
  );
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } };
  await assert.rejects(
    client.messages.create({ model, max_tokens: 9, messages: said([image]) }),
    (error) => error instanceof Anthropic.BadRequestError && /image/.test(error.message),
  );
});

test("an aborted stream ends at once", async () => {
  const stream = await client.messages.create({ ...request("Count"), stream: true });
  let text = 0;
  for await (const event of stream) {
    if (event.type === "content_block_delta") {
      text += 1;
      break;
    }
  }
  assert.equal(text, 1);
  assert.ok(stream.controller.signal.aborted);
});
