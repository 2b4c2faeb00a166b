// The stories that the sweep plays: each is one thing that a crash at the wrong moment could break.
#pragma once

#include "sim/story_stage.h"

namespace varve::sim {

// An agent's whole life: tools, two messages at once, a crash in a turn, a stream, a cancel, an import.
StoryKind lifecycle_story();

// A block that two agents share is edited through the API, through either agent and by a tool, also while a
// turn is open: both agents and their models see every edit.
StoryKind blocks_story();

// An agent is snapshotted, leaves memory, and comes back from its snapshot and what lies behind it.
StoryKind passivation_story();

// Many records in one transaction of the views, whose answer comes late or never: nothing doubled, nothing
// lost.
StoryKind batch_story();

// A stream is parked by an event that nobody can read, and skipped by a ruling; another one by an older
// program, and tried again. The others go on; views that are live are those of a rebuild.
StoryKind quarantine_story();

// Claims move between two nodes, by a join, a planned drain and a lost assignment, while turns are open and
// commands and streams are forwarded.
StoryKind move_story();

// Agents are carried away, as a copy and for good, by a program that is killed on its way.
StoryKind teleport_story();

}  // namespace varve::sim
