// CUDA graphs: what is enqueued on a stream while it captures, with the arguments' values then.
#pragma once
#include "state.h"

namespace {

const int RELAXED = 2;

struct Graph {
    Actions actions;
};

// Do it, or write it down for later.
int enqueue(Stream *stream, std::function<int()> action) {
    if (!stream || !stream->captured) return action();
    stream->captured->push_back(std::move(action));
    return SUCCESS;
}

}  // namespace

API cuStreamBeginCapture_v2(Stream *stream, int mode) {
    NEEDS(current());
    if (!state.streams.count(stream) || mode != RELAXED || stream->captured) return INVALID_VALUE;
    // The legacy stream waits for a stream that was not made as non-blocking, and cannot then.
    if (!stream->non_blocking) return STREAM_CAPTURE_UNSUPPORTED;
    stream->captured.reset(new Actions);
    return SUCCESS;
}
API cuStreamEndCapture(Stream *stream, Graph **graph) {
    NEEDS(current());
    if (!state.streams.count(stream) || !stream->captured) return INVALID_VALUE;
    *graph = new Graph{std::move(*stream->captured)};
    stream->captured.reset();
    return SUCCESS;
}
API cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long flags) {
    NEEDS(current());
    if (flags) return INVALID_VALUE;
    *executable = new Graph(*graph);
    state.graphs.insert(*executable);
    return SUCCESS;
}
API cuGraphLaunch(Graph *executable, Stream *stream) {
    NEEDS(current());
    if (!state.graphs.count(executable) || !state.streams.count(stream)) return INVALID_HANDLE;
    for (auto &action : executable->actions)
        if (int error = action()) return error;
    return SUCCESS;
}
API cuGraphDestroy(Graph *graph) {
    delete graph;
    return SUCCESS;
}
API cuGraphExecDestroy(Graph *executable) {
    NEEDS(current());
    if (!state.graphs.erase(executable)) return INVALID_HANDLE;
    delete executable;
    return SUCCESS;
}
