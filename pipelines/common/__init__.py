"""Code that several folders of pipelines use: files, Beam, counts of a running job, findings, image headers, random bits."""
