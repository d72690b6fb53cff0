"""Pairs of changes that go wrong together, each in one program by hand.

The rule by which they were chosen: a public thread reports that the two together fail or give a wrong result where each
alone does not, and the programs here can show it (they have no fp16, so no scaler). Threads were searched for by the
names of both changes; these ten pairs were found.

Where git cannot merge the two changes of Lightning, the program that somebody has to put together is here, too.
"""
