// The official openai package for JavaScript; run by tests/clients/test_javascript.py.
const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { test } = require("node:test");

const packages = createRequire(process.env.CLIENTS_JS + "/");
const OpenAI = packages("openai");

const { model, script } = JSON.parse(process.env.CASE);
const client = new OpenAI({ baseURL: process.env.CORTEX_URL + "/v1", apiKey: "none", maxRetries: 0 });
const said = (content) => [{ role: "user", content }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, unit: { type: "string" } },
  required: ["city"],
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];

test("a chat and its stream say the same", async () => {
  const whole = await client.chat.completions.create({ model, messages: said("Hi") });
  const stream = client.chat.completions.stream({
    model,
    messages: said("Hi"),
    stream_options: { include_usage: true },
  });
  let joined = "";
  stream.on("content", (delta) => (joined += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(whole.choices[0].message.content, script.greeting);
  assert.equal(joined, script.greeting);
  assert.equal(final.choices[0].finish_reason, "stop");
  const usage = await stream.totalUsage();
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("tools round trip through the SDK's own runner", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: said("What is the weather in Paris?"),
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          parameters,
          parse: JSON.parse,
          function: (given) => {
            asked.push(given);
            return "21";
          },
        },
      },
    ],
  });
  assert.equal(await runner.finalContent(), script.report);
  assert.deepEqual(asked, [script.weather]);
});

test("a tool call comes whole when it is not streamed", async () => {
  const { choices } = await client.chat.completions.create({
    model,
    messages: said("What is the weather in Paris?"),
    tools,
    tool_choice: "required",
  });
  const [call] = choices[0].message.tool_calls;
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(call.function.arguments), script.weather);
});

test("parse gives the asked object", async () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer" } },
    required: ["name", "age"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.parse({
    model,
    messages: said("Ada, as JSON"),
    response_format: { type: "json_schema", json_schema: { name: "person", schema, strict: true } },
  });
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), script.person);
});

test("errors are the SDK's own", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "nobody", messages: said("Hi") }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found" && !!error.requestID,
  );
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
  await assert.rejects(
    client.chat.completions.create({ model, messages: said([image]) }),
    (error) => error instanceof OpenAI.BadRequestError && /image_url/.test(error.message),
  );
});

test("an aborted stream ends at once", async () => {
  const stream = await client.chat.completions.create({ model, messages: said("Count"), stream: true });
  let chunks = 0;
  for await (const _ of stream) {
    chunks += 1;
    break;
  }
  assert.equal(chunks, 1);
  assert.ok(stream.controller.signal.aborted);
});
