// A grpc-js server whose only method reads no field and answers an empty message: the cost of the library alone.
// bench/server.ts starts it like the program, with the options of the program that change the cost of a call.
import { Server, ServerCredentials } from '@grpc/grpc-js';

const unchanged = (bytes) => bytes;

const EMPTY_SERVICE = {
  Call: {
    path: '/rollcall.bench.EmptyService/Call',
    requestStream: false,
    responseStream: false,
    requestSerialize: unchanged,
    requestDeserialize: unchanged,
    responseSerialize: unchanged,
    responseDeserialize: unchanged,
  },
};

const ANSWER = Buffer.alloc(0);

const server = new Server({ 'grpc.enable_channelz': 0 });
server.addService(EMPTY_SERVICE, { Call: (_call, done) => done(null, ANSWER) });
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, grpcPort) => {
  if (error) throw error;
  process.stderr.write(`${JSON.stringify({ grpcPort })}\n`);
});
process.once('SIGTERM', () => process.exit(0));
