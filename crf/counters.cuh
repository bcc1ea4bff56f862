// What the device counts while it builds a lattice, counters[4], and the length of a chunk.

constexpr int VERTICES = 0;
constexpr int OVERFLOWS = 1;  // not 0: there are more vertices than room, the frame must be redone
constexpr int CHUNKS = 2;     // pieces that the vertices' rows of entries are cut into
constexpr int LONG_ROWS = 3;  // rows of more than one chunk

constexpr int CHUNK = 64;  // the most entries that one group of lanes adds up
