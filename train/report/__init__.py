"""`fasttok-train report RUN ...`: what runs logged, as one page that needs no network."""
