import { getAttention, inferV2, predict } from "./generated";

const answer = await predict({ sequence: [[0.1, null]], attention: "full", importance: true });
const attention: number[] | number[][] | null | undefined =
  answer.status === 200 ? answer.data.predictions[0]?.attention : null;
const inferred = await inferV2("m", {
  inputs: [{ name: "sequence", shape: [1, 1, 2], datatype: "FP32", data: [0.1, null] }],
});
const data: number[] | null | undefined = inferred.status === 200 ? inferred.data.outputs[0]?.data : null;
const profile = await getAttention();
export { attention, data, profile };
