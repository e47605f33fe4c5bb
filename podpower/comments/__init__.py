"""Comments on pull and merge requests: GitHub's and GitLab's API, and what happens to earlier comments."""
