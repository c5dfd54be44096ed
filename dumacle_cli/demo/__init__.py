"""`dumacle demo`, step by step: media, users and plans, uploads, links, playback and the summary at the end."""
