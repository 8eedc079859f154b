"""What tests of several folders use: peers, threads, and ways to run short of something."""
